# Builds that try what a sandbox could show differently from Nix's own. All leave what they saw.
{ shell, compile, at }:
let
  tree = { src = at "tree"; };
  names = set: builtins.mapAttrs (name: make: make name) set;
in names {
  # The surroundings.
  identity = name: shell { } name "{ id; id -un; umask; hostname; whoami; } > $out";
  environment = name: shell { passAsFile = [ "text" ]; text = "of an attribute"; } name ''
    env | sort > $out; cat $textPath >> $out; cd $NIX_BUILD_TOP; ls -A >> $out; stat -c '%A %U %G %s %n' . .attr* >> $out'';
  folders = name: shell { } name ''
    { pwd; echo $TMPDIR $TEMP $NIX_BUILD_TOP; ls -A $TMPDIR; stat -c '%A %U %G' $TMPDIR
      ls -ld /tmp /build /etc /nix /nix/store /proc /dev | awk '{ print $1, $3, $4, $NF }'
      touch /tmp/a $TMPDIR/b; ls -l /tmp $TMPDIR | awk '{ print $1, $3, $4, $5, $NF }'; } > $out'';
  root-folder = name: shell { } name "ls -1 / > $out; ls -1 /etc /dev | grep -v kvm >> $out";
  accounts = name: shell { } name "cat /etc/passwd /etc/group /etc/hosts > $out";
  itself = name: shell { } name ''
    { tr '\0' ' ' < /proc/self/cmdline; readlink /proc/self/cwd; readlink /proc/self/root
      grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp):' /proc/self/status
      echo $$; ulimit -n; ulimit -s; ulimit -c; } > $out'';
  network = name: shell { } name "{ ifconfig -a | grep -o 'inet [^ ]*'; cat /proc/net/route; } > $out";
  standard-files = name: shell { } name ''
    for fd in 0 1 2; do [ -t $fd ] && echo $fd is a terminal || echo $fd is none; done > $out
    readlink /proc/self/fd/0 >> $out; cat >> $out; ls /proc/self/fd | wc -l >> $out'';
  devices = name: shell { } name ''
    { ls -l /dev | awk '{ print $1, $NF }' | grep -v -e kvm -e total; head -c 3 /dev/zero | wc -c
      echo x > /dev/full || echo full; echo x > /dev/null; ls -ld /dev/shm /dev/pts | awk '{ print $1, $NF }'; } > $out 2> /dev/null'';
  refused = name: shell { } name ''
    { for path in /new /etc/passwd /nix/new /proc/sys/kernel/hostname $busybox; do
        (: >> $path) 2> /dev/null && echo $path yes || echo $path no
      done
      mkdir /nix/store/abc 2> /dev/null && echo in the store; rmdir /nix/store/abc
      mount -t tmpfs none /tmp 2> /dev/null || echo no mount; chroot / true 2> /dev/null || echo no root
      hostname other 2> /dev/null || echo no name; mknod /tmp/d c 1 3 2> /dev/null || echo no device; } > $out'';

  # What inputs show.
  times = name: shell tree name ''
    { cd $src; find . | sort | while read -r path; do date -u -r "$path" +%s; done
      stat -c '%n %a %h %s %F' * | sed 's/^\(.*\) [0-9]* 4096 directory/\1 directory/' | grep -v directory; } > $out'';
  order = name: shell tree name "cd $src; { ls; echo *; find . | sort; find . -type f | wc -l; } > $out";
  modes = name: shell tree name "cd $src; { find . -type f | sort | xargs stat -c '%a %n'; find . -perm -100 -type f | sort; } > $out";
  shebang = name: shell tree name ''
    { echo "#!$busybox sh"; cat $src/tool; } > $TMPDIR/tool; chmod +x $TMPDIR/tool; $TMPDIR/tool a b > $out; rm $TMPDIR/tool'';
  shebang-input = name: compile { given = derivation {
      name = "tool"; system = "x86_64-linux"; builder = (shell { } "x" "").builder;
      args = [ "sh" "-c" "printf '#!%s sh\\necho \"$0\" \"$@\" | sed s,.*/,,\\n' $builder > $out; $builder chmod +x $out" ];
    }; } name "$given one two > $out";
  copied = name: shell tree name "cp -r $src $out; chmod -R u+w $out; cp $src/long $out/again";
  through-links = name: shell tree name "cd $src; { cat link; readlink link dangling; [ -e dangling ] || echo dangles; cat folder/up; } > $out";

  # What outputs can be.
  outputs = name: shell { outputs = [ "out" "dev" "doc" ]; } name ''
    mkdir -p $out/lib $dev; echo $out/lib > $dev/where; echo $dev > $doc; echo library > $out/lib/a'';
  hard-links = name: shell { } name ''
    mkdir $out; echo one > $out/a; ln $out/a $out/b; mkdir $out/deep; ln $out/a $out/deep/c; stat -c %h $out/a >> $out/d'';
  privileges = name: shell { } name ''
    mkdir $out; cp $busybox $out/b; for mode in 4755 2755 6755 1755; do chmod $mode $out/b || echo $mode refused >> $out/said; done 2> /dev/null
    stat -c %a $out/b >> $out/said; install -m 4755 $busybox $out/c 2> /dev/null || echo install refused >> $out/said'';
  odd-names = name: shell { } name ''
    mkdir $out; cd $out; for n in 'a b' "$(printf 'new\nline')" "$(printf '\377\376')" '-dash' '*' '.hidden' "it's" '"quoted"' "$(printf 'caf\303\251')" 'back\slash' '~' 'a:b' "$(printf 'bell\007')"; do
      echo "$n" > "./$n"; done; mkdir ...; : > .../x; echo "$(printf '%0250d' 0)" > "$(printf '%0250d' 0)"'';
  sparse = name: shell { } name ''
    mkdir $out; truncate -s 50M $out/hole; echo end >> $out/hole; dd if=/dev/zero of=$out/seek bs=1 count=1 seek=1000000 2> /dev/null'';
  huge = name: shell { } name "yes 'two hundred megabytes' | head -c 200000000 > $out";
  permissions = name: shell { } name ''
    mkdir $out; for mode in 000 001 010 100 200 400 644 700 755 777; do echo $mode > $out/$mode; done
    for mode in 000 001 010 100 200 400 644 700 755 777; do chmod $mode $out/$mode; done
    mkdir $out/closed; echo x > $out/closed/x; chmod 500 $out/closed; chmod 711 $out'';
  deep = name: shell { } name ''
    mkdir $out; cd $out; i=0; while [ $i -lt 60 ]; do mkdir d$i; cd d$i; i=$((i + 1)); done; echo bottom > file'';
  links = name: shell tree name ''
    mkdir $out; cd $out; ln -s nowhere dangling; ln -s /etc/passwd absolute; ln -s ../.. relative; ln -s $src/a to-input
    ln -s $out/dangling to-itself; ln -s "$(printf 'odd \377')" odd; ln -s loop loop'';
  link-alone = name: shell tree name "ln -s $src/folder $out";
  program-alone = name: shell { } name "cp $busybox $out; chmod 755 $out";
  empty = name: shell { outputs = [ "out" "dev" "lib" ]; } name ": > $out; mkdir $dev; mkdir -p $lib/a/b $lib/c";
  lines = name: shell { } name "seq 1 300000 > $out; mkdir $TMPDIR/x; seq 1 9 | while read -r n; do echo $n $out; done >> $out";
  many-files = name: shell { } name "mkdir $out; cd $out; for i in $(seq 1 1500); do echo $i > f$i; done";
  archives = name: shell tree name ''
    mkdir $out; cd $src; tar c a folder | tar t > $out/names; tar c a long | gzip -n > $out/tar.gz; bzip2 < long > $out/bz2'';
  mtime-in-output = name: shell tree name ''
    mkdir $out; cp -p $src/a $out/kept; date -u -r $out/kept +%s > $out/said; touch -d '2001-02-03 04:05:06' $out/old; date -u -r $out/old > $out/when'';
  background = name: shell { } name "echo done > $out; (sleep 100; echo late >> $out) & (exec setsid sleep 100) & :";
  replaced = name: shell { } name "mkdir $out; echo one > $out/one; rm -r $out; echo $out > $out";
  pipes = name: shell { } name "mkfifo p; (seq 1 100000 > p) & sha256sum < p > $out; wait";

  # What is not as in Nix's sandbox, or not even there from build to build: docs/src/tracing-exceptions.md.
  exception-order = name: shell tree name "cd $src; find . > $out";
  exception-times = name: shell tree name "cd $src; stat -c '%X %Z' a folder > $out";
  exception-numbers = name: shell tree name "cd $src; stat -c '%i %d' a; stat -c '%h %s %b' folder . > $out";
  exception-mounts = name: shell tree name "cut -d ' ' -f 5- /proc/self/mountinfo > $out; stat -f -c '%T %s' $src >> $out";
  exception-root = name: shell tree name "stat -c %s / > $out";

  # The toolchain.
  c = name: compile { main = at "hello.c"; } name "gcc -O2 -g -Wall $main -o $out; $out; $out > said; cat said";
  c-library = name: compile { outputs = [ "out" "dev" ]; main = at "library.c"; } name ''
    mkdir -p $out/lib $dev/include; gcc -O2 -fPIC -shared -g $main -o $out/lib/liblibrary.so
    gcc -O2 -c -ffunction-sections $main; ar rcs $out/lib/liblibrary.a library.o 2> /dev/null || ar rcs $out/lib/liblibrary.a *.o
    echo 'int answer(void);' > $dev/include/library.h'';
  c-static = name: compile { main = at "hello.c"; } name "gcc -O2 -static $main -o $out || gcc -O2 $main -o $out";
  c-random-seed = name: compile { main = at "hello.c"; } name "gcc -O2 -flto -frandom-seed=$name $main -o $out";
  c-paths = name: compile { main = at "paths.c"; } name "mkdir $out; cp $main paths.c; gcc -g -O0 paths.c -o $out/paths; $out/paths > $out/said";
  c-metadata = name: compile { main = at "metadata.c"; given = at "tree"; } name "gcc -O1 $main -o m; ./m $given $out";
  c-attributes = name: compile { main = at "attributes.c"; given = at "tree"; } name "gcc -O1 $main -o m; ./m $given $given/a . absent > $out";
  cxx = name: compile { main = at "hello.cc"; } name "g++ -std=c++17 -O2 -g $main -o $out; $out";
  cxx-templates = name: compile { main = at "templates.cc"; } name "g++ -std=c++20 -O1 $main -o t; ./t > $out";
  make-parallel = name: compile { main = at "hello.c"; } name ''
    for i in $(seq 1 8); do sed "s/main/f$i/" $main > f$i.c; done
    printf 'all: %s\n\tar Drcs lib.a $^\n%%.o: %%.c\n\tgcc -O1 -c $<\n' "$(echo f{1..8}.o)" > Makefile
    make -j4; cp lib.a $out'';
}
