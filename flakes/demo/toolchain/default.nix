# A C and C++ toolchain for Nix derivations, made of Debian packages and nothing else.
# Works with any Nix from 2.8 on, in the sandbox, without nixpkgs and without /bin/sh.
# How it works is told in README.md.
{ system ? "x86_64-linux", mirror ? "http://mirror.invalid" }:
let
  lock = builtins.fromJSON (builtins.readFile ./debs.json);

  # A fixed-output path depends on name and hash alone: the file that seed.sh put into the
  # store is this derivation's output, whatever the URL says. (Or pass `mirror`, and Nix fetches.)
  fetch = file:
    let
      source = builtins.match ".*\\.orig\\.(tar\\.[a-z0-9]+)" file.path;
      suffix = if source == null then "deb" else builtins.head source;
      url = "${mirror}/${file.path}";
    in derivation {
      name = "${builtins.replaceStrings [ "~" ] [ "-" ] file.name}.${suffix}";
      system = "builtin";
      builder = "builtin:fetchurl";
      preferLocalBuild = true;
      inherit url;
      urls = [ url ];
      executable = false;
      unpack = false;
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = file.sha256;
    };
  group = name: builtins.filter (file: file.group == name) lock.debs;
  named = name: files: fetch (builtins.head (builtins.filter (file: file.name == name) files));

  # Never built: seed.sh puts the output there.
  seed = derivation {
    name = "busybox-seed";
    inherit system;
    builder = "/run-seed.sh-first";
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
    outputHash = import ./busybox.nix;
  };

  # A derivation whose shell and tools are busybox.
  bootstrap = name: attrs: script: derivation ({
    inherit name system;
    builder = "${seed}/bin/busybox";
    args = [ "sh" "-euc" (prelude + script) ];
    busybox = "${seed}/bin/busybox";
    PATH = "/no-path";
    SOURCE_DATE_EPOCH = "1";
  } // attrs);

  prelude = ''
    PATH=$TMPDIR/busybox
    export PATH
    $busybox mkdir -p $PATH
    $busybox --install -s $PATH

    # The files of all given packages into one folder, with /bin, /sbin and /lib merged into /usr.
    unpack() {
      root=$1
      shift
      mkdir -p $root
      for deb; do ar -p $deb data.tar.xz | xz -dc | tar x -C $root; done
      for dir in bin sbin lib; do
        [ ! -d $root/$dir ] || {
          mkdir -p $root/usr/$dir
          cp -a $root/$dir/. $root/usr/$dir/
          rm -rf $root/$dir
        }
      done
    }
    is_elf() { [ "$(head -c 4 "$1" | tail -c 3)" = ELF ]; }
  '';

  # glibc, libgcc_s, libstdc++: all that a built program refers to at run time.
  runtime = bootstrap "debian-runtime" {
    debs = map fetch (group "runtime");
    patchelf = named "patchelf" (group "tools");
  } ''
    unpack $TMPDIR/root $debs
    mkdir -p $out/lib
    cp -a $TMPDIR/root/usr/lib/x86_64-linux-gnu/. $out/lib/
    rm -rf $out/lib/gconv $out/lib/audit
    # patchelf runs on these very libraries, and must not rewrite the ones it runs on.
    cp -a $out/lib $TMPDIR/lib
    mkdir $TMPDIR/patchelf
    ar -p $patchelf data.tar.xz | xz -dc | tar x -C $TMPDIR/patchelf
    for file in $out/lib/*.so*; do
      case $file in */libc.so.6 | */ld-linux*) continue ;; esac
      [ -h $file ] || ! is_elf $file ||
        $TMPDIR/lib/ld-linux-x86-64.so.2 --library-path $TMPDIR/lib \
          $TMPDIR/patchelf/usr/bin/patchelf --set-rpath $out/lib $file
    done
  '';

  # gcc, g++, binutils, make, bash, coreutils, …: a tree that is its own sysroot.
  toolchain = bootstrap "debian-toolchain" {
    debs = map fetch (group "tools");
    inherit runtime;
  } ''
    unpack $TMPDIR/root $debs
    mkdir -p $out
    cp -a $TMPDIR/root/usr $out/usr
    for dir in doc man info locale lintian bug; do rm -rf $out/usr/share/$dir; done
    ln -s usr/bin $out/bin
    ln -s usr/lib $out/lib
    ln -s usr/lib/x86_64-linux-gnu $out/lib64
    ln -s lib/x86_64-linux-gnu $out/usr/lib64
    libraries=$out/usr/lib/x86_64-linux-gnu
    for file in $runtime/lib/*; do
      [ -e $libraries/''${file##*/} ] || ln -s $file $libraries/
    done

    # Absolute links of the packages are pointed into this tree.
    find $out -type l | while read -r link; do
      target=$(readlink "$link")
      case $target in
        /nix/*) ;;
        /lib/*) ln -sfn "$out/usr$target" "$link" ;;
        /usr/* | /bin/*) ln -sfn "$out$target" "$link" ;;
      esac
    done

    # Every program gets the runtime's ld.so, and a DT_RPATH: unlike RUNPATH it also holds
    # for the libraries' own dependencies.
    cp $out/usr/bin/patchelf $TMPDIR/patchelf
    loader=$runtime/lib/ld-linux-x86-64.so.2
    patch() { $loader --library-path $runtime/lib $TMPDIR/patchelf "$@"; }
    find $out/usr -type f ! -name '*.o' ! -name '*.a' ! -name '*.h' | while read -r file; do
      is_elf "$file" || continue
      patch --force-rpath --set-rpath $runtime/lib:$libraries "$file" || continue
      case $file in
        *.so | *.so.*) ;;
        *) patch --set-interpreter $loader "$file" ;;
      esac
    done

    # What is linked gets the same, by specs that are named on the command line: a file called
    # `specs` that gcc finds by itself would have to be a complete set.
    printf '%s\n' '*link:' "+ -rpath $runtime/lib %{!shared:%{!static:%{!static-pie:-dynamic-linker $loader}}}" "" \
      > $out/wrap.specs
    mkdir $out/wrap
    version=$(echo $out/usr/lib/gcc/x86_64-linux-gnu/*)
    version=''${version##*/}
    for name in gcc g++ cpp; do
      {
        echo "#!$out/usr/bin/bash"
        echo "exec $out/usr/bin/x86_64-linux-gnu-$name-$version --sysroot=$out -B$out/usr/bin -specs=$out/wrap.specs \"\$@\""
      } > $out/wrap/$name
      chmod 755 $out/wrap/$name
    done
    ln -s gcc $out/wrap/cc
    ln -s g++ $out/wrap/c++
    ln -sfn bash $out/usr/bin/sh
    ln -sfn gawk $out/usr/bin/awk
  '';

  # build { name, script, … }: run the script under bash -eu with the toolchain on PATH. With
  # `src` it starts in the unpacked source. Everything else becomes a variable of the script.
  build = { name, script, ... }@attrs: derivation ({
    inherit system;
    builder = "${toolchain}/usr/bin/bash";
    args = [ "-euc" ''
      if [ "''${src:-}" ]; then tar xf $src; cd */; fi
      ${script}
    '' ];
    PATH = "${toolchain}/wrap:${toolchain}/usr/bin";
    SHELL = "${toolchain}/usr/bin/bash";
    CONFIG_SHELL = "${toolchain}/usr/bin/bash";
    # Debian's make has /bin/sh compiled in.
    MAKEFLAGS = "SHELL=${toolchain}/usr/bin/bash";
    SOURCE_DATE_EPOCH = "1";
    LC_ALL = "C";
  } // removeAttrs attrs [ "script" ]);

  # The upstream source of a Debian source package in debs.json.
  source = name: named name (group "source");
in {
  inherit seed runtime toolchain build fetch source;
}
