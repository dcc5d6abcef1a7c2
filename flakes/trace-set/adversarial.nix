# Builds for which the wrong result would be reused, if reuse were decided by looking for hashes in
# outputs. Tests change what no builder reads, `variable/unread`, and with it the hashes of all inputs.
{ shell, compile, at, variable, interpreters }:
let
  unread = builtins.readFile (variable + "/unread");

  # Always the same bits, under a path that changes: it has a file that nobody reads.
  dependency = name: shell { inherit unread; } name ''
    mkdir -p $out/bin $out/names; echo constant > $out/read; echo $unread > $out/unread
    cp $busybox $out/bin/busybox; ln $out/read $out/linked; ln -s read $out/link
    for n in c a b; do : > $out/names/$n; done'';
  dep = dependency "dep";
  other = dependency "other";
  inputs = { src = variable; inherit dep other; };
  more = inputs // { inherit probe; };
  mapped = compile { main = at "mapped.c"; } "mapped" "gcc -O1 $main -o $out";

  probe = compile { main = at "probe.c"; } "probe" "gcc -O1 -static -pthread $main -o $out";

  # Programs that a test put into `interpreters`; `run` runs them.
  given = name: scripts:
    let
      tool = interpreters + "/${name}";
      run = ''
        set -e
        run() { PYTHONHOME=$tool PYTHONPATH=$tool/modules $tool/lib/ld.so --library-path $tool/lib $tool/bin/${name} "$@"; }
      '';
      one = job: script: shell (inputs // { inherit tool; }) job (run + script);
    in if builtins.pathExists tool then builtins.mapAttrs one scripts else { };
  # A source, compiled where it was written; without headers, whose paths would tell of the toolchain.
  compiled = builtins.mapAttrs (name: script:
    compile { inherit dep; } name "echo 'int main(void) { return 0; }' > m.c; ${script}");

  make = set: builtins.mapAttrs (name: script: shell more name script) set;
  # Each sixteen times, with inputs of its own: what is said of a bit of a hash is then true of some.
  often = name: script:
    let
      one = number:
        let
          job = "${name}-${toString number}";
          named = input: builtins.toFile "${input}-${job}" unread;
        in {
          name = job;
          value = shell { dep = named "dep"; other = named "other"; } job script;
        };
    in builtins.listToAttrs (builtins.genList one 16);
in {
  adversarial = make {
    # The path of an input is in the result, though no scan for it finds it.
    built-gzip = "echo $dep/read | gzip -n > $out";
    built-bzip2 = "for i in 1 2 3 4 5 6 7 8 9; do echo $dep/read $src; done | bzip2 > $out";
    built-sha256 = "echo $dep | sha256sum > $out";
    built-md5 = "echo $src | md5sum > $out";
    built-part-of-a-digest = "echo $src | sha256sum | head -c 12 > $out";
    built-chunks = "echo $dep/read | fold -w 16 > $out";
    built-utf16 = ''echo $dep | fold -w 1 | while read -r c; do printf '%s\000' "$c"; done > $out'';
    built-utf32 = ''echo $src | fold -w 1 | while read -r c; do printf '%s\000\000\000' "$c"; done > $out'';
    built-reversed = "echo $dep | rev > $out";
    built-base64 = "echo $src | base64 > $out";
    built-hexadecimal = "echo $other | xxd -p > $out";
    built-upper-case = "echo $dep | tr a-z A-Z > $out";
    built-tar = "tar c $dep/read 2> /dev/null | gzip -n > $out";
    built-tar-of-names = "tar c $dep/read $other/linked 2> /dev/null > $out";
    built-static = "$probe -d $dep $other > $out";
    built-file-name = ''mkdir $out; : > $out/$(echo $dep | sha256sum | head -c 40)'';
    built-link = ''ln -s "$(echo $dep | rev)" $out'';
    built-plain = "echo $dep > $out";
    built-environment = "env | sort | sha256sum > $out";
    built-own-path = "echo $out | sha256sum > $out";
    built-mounts = "grep -o '/nix/store/[^ ]*' /proc/self/mountinfo | sort | md5sum > $out";
    built-link-of-a-link = "{ cd $dep/names; pwd | md5sum; } > $out";
    built-command-line = "$dep/bin/busybox sh -c 'md5sum < /proc/self/cmdline' $dep > $out";
    built-descriptor = "exec 5< $dep/read; readlink /proc/self/fd/5 | md5sum > $out";
    built-maps = "$dep/bin/busybox grep -o 'nix/store/.*' /proc/self/maps | md5sum > $out";

    # It is not, whatever way the builder looked.
    reused-size = "wc -c < $src/read > $out; stat -c %s $dep/read >> $out";
    reused-absence = "[ -e $src/none ] || [ -e $dep/none ] || echo none > $out";
    reused-length-of-a-path = "echo $src | wc -c > $out";
    reused-name-of-a-path = "echo $dep | cut -d- -f2 > $out";
    reused-order = "ls $dep/names > $out; find $dep/names -type f | sort | sed 's,.*/,,' >> $out";
    reused-descriptor = "exec 5< $src/read; cat /proc/self/fd/5 > $out";
    reused-program = "$dep/bin/busybox echo said by a program of an input > $out";
    reused-static-program = "mkdir $out; cp $dep/bin/busybox $out/b; $out/b md5sum $out/b | cut -c 1-32 > $out/sum";
    reused-static-threads = "$probe $src/read $dep/read $other/names/a $dep/none > $out";
    reused-hard-links = "cat $dep/read $dep/linked > $out";
    reused-link = "readlink $dep/link > $out; cat $dep/link >> $out";
    reused-times = "date -u -r $src/read > $out; stat -c %Y $dep $dep/read >> $out";
    reused-compressed = "gzip -n < $src/read > $out";
    reused-copy = "mkdir $out; cp $src/read $dep/read $out; chmod +w $out/*";
    reused-empty = "read x < $src/read; [ \"$x\" ] && : > $out";
    reused-empty-folder = "mkdir $out; [ -d $dep/names ]";
    reused-path-checked = "[ $(echo $dep/read | gzip | wc -c) -gt 20 ] && : > $out";
    reused-identity = "{ id; umask; hostname; pwd; } > $out";
  } // {
    reused-mapped = shell (inputs // { inherit mapped; }) "reused-mapped" "$mapped $src/read > $out";
    reused-outputs = shell (inputs // { outputs = [ "out" "dev" ]; }) "reused-outputs" "cat $src/read > $out; : > $dev";
    built-outputs = shell (inputs // { outputs = [ "out" "dev" ]; }) "built-outputs" "echo $dep | md5sum > $dev; : > $out";
    built-random = shell inputs "built-random" "head -c 16 /dev/urandom > $out";
  } // compiled {
    # The folder in which something was compiled is in what a debugger reads, and in a digest of it.
    built-debug = "gcc -g -fdebug-prefix-map=$PWD=$dep -c m.c -o $out";
    built-debug-compressed = "gcc -g3 -gz=zlib -fdebug-prefix-map=$PWD=$dep -c m.c -o $out";
    built-build-id = "gcc -g -fdebug-prefix-map=$PWD=$dep -Wl,--build-id=sha1 m.c -o m; strip m; cp m $out";
    reused-debug-compressed = "gcc -g3 -gz=zlib -c m.c -o $out";
    reused-build-id = "gcc -g -fdebug-prefix-map=$dep=/dep -Wl,--build-id=sha1 m.c -o m; strip m; cp m $out";
  } // given "sqlite3" {
    built-sqlite = ''run -init /dev/null m.db "create table t (p text); insert into t values ('$dep/read');"; cp m.db $out'';
    built-sqlite-utf16 = ''run -init /dev/null m.db "pragma encoding = 'UTF-16le'; create table t (p text); insert into t values ('$dep/read');"; cp m.db $out'';
    reused-sqlite = ''run -init /dev/null m.db "create table t (p text); insert into t values ('$(cat $src/read)');"; cp m.db $out'';
  } // given "xz" {
    built-xz = "echo $dep/read $src/read | run > $out";
    reused-xz = "run < $src/read > $out";
  } // given "mksquashfs" {
    built-squashfs = "mkdir d; ln -s $dep/read d/link; run d m -all-root -all-time 1 -mkfs-time 1 -no-xattrs -processors 1 -quiet > log; cp m $out";
    reused-squashfs = "mkdir d; cat $src/read > d/read; run d m -all-root -all-time 1 -mkfs-time 1 -no-xattrs -processors 1 -quiet > log; cp m $out";
  } // (
    let
      bytecode = path: ''
        echo "def f(): return 1" > m.py
        run -S -c 'import _imp, _frozen_importlib_external as e, sys
        text = open("m.py", "rb").read()
        code = compile(text, sys.argv[1], "exec")
        open(sys.argv[2], "wb").write(e._code_to_hash_pyc(code, _imp.source_hash(e._RAW_MAGIC_NUMBER, text)))' ${path} $out'';
    in given "python" {
      built-pyc = bytecode "$dep/m.py";
      built-pyc-compressed = "${bytecode "$dep/m.py"}; gzip -n < $out > m; cp m $out";
      reused-pyc = bytecode "/build/m.py";
    });

  # Looks for a way out of the sandbox; the places come from a file.
  escape.escape = shell { src = variable; } "escape" ''
    read -r secret unlisted port < $src/read
    {
      cat $secret 2> /dev/null || echo secret no
      cat $unlisted 2> /dev/null || echo unlisted no
      nc -w 2 127.0.0.1 $port < /dev/null 2> /dev/null && echo server yes || echo server no
      cat /proc/1/root/etc/shadow 2> /dev/null || echo root no
      set -- /proc/[0-9]*; echo processes $#
    } > $out'';

  # Ask for a path that they are told of. It is at first no input, or another one of its name is; later
  # it is one, since `late` refers to it.
  late =
    let
      secret = which: builtins.toFile "secret" "secret ${which}";
      referred = builtins.readFile (variable + "/referred");
      more = {
        where = builtins.toFile "where" "${builtins.unsafeDiscardStringContext "${secret "b"}"}\n";
        late = shell {
          inherit unread;
          referred = if referred == "" then "" else secret referred;
        } "late" "mkdir $out; echo $referred $unread > $out/unread";
      };
    in {
      content = shell more "content" "read -r path < $where; { [ -e $path ] && echo there || echo absent; } > $out";
      empty = shell more "empty" "read -r path < $where; if [ -e $path ]; then mkdir $out; else : > $out; fi";
    };

  # What can be reused wrongly: the result depends on so little of a hash that two builds are likely to
  # agree by chance.
  limits = often "bit" ''case $dep in /nix/store/[0-9a-f]*) echo one > $out;; *) echo two > $out;; esac''
    // often "empty-bit" ''case $dep in /nix/store/[0-9a-f]*) : > $out;; *) mkdir $out;; esac''
    // often "sorted" ''printf '%s\n' $dep $other | sort | cut -d- -f2 > $out'';
}
