# The demo's checks, as a graph with shared dependencies:
#
#   toolchain ─┬─ zlib ─┬─ hello-cxx
#              │        ├─ gzip-roundtrip
#              │        └─ lua-zlib
#              └─ lua ──┴──┘ └─ lua-script
#
#   shell and sandbox need nothing but the /bin/sh of the sandbox.
{ system }:
let
  inherit (import ./toolchain { inherit system; }) build source;
in rec {
  # zlib, with its own test suite. Its headers are an output of their own.
  zlib = build {
    name = "zlib-1.2.13";
    src = source "zlib";
    outputs = [ "out" "dev" ];
    script = ''
      bash ./configure --prefix=$out --includedir=$dev/include
      make -j$NIX_BUILD_CORES
      make test
      make install
    '';
  };

  # The Lua interpreter.
  lua = build {
    name = "lua-5.4.4";
    src = source "lua5.4";
    script = ''
      make -j$NIX_BUILD_CORES linux CC=gcc
      make install INSTALL_TOP=$out
      $out/bin/lua -e 'print(_VERSION)'
    '';
  };

  # A threaded C++ program linked to zlib.
  hello-cxx = build {
    name = "hello-cxx";
    inherit zlib;
    headers = zlib.dev;
    main = ./src/hello.cc;
    script = ''
      mkdir -p $out/bin
      g++ -std=c++17 -O2 -Wall -Werror -I$headers/include $main -L$zlib/lib -Wl,-rpath,$zlib/lib -lz -o $out/bin/hello
      $out/bin/hello
    '';
  };

  # What zlib's own gzip compresses, gzip unpacks, and the other way round.
  gzip-roundtrip = build {
    name = "gzip-roundtrip";
    inherit zlib;
    headers = zlib.dev;
    main = ./src/roundtrip.c;
    script = ''
      gcc -O2 -Wall -Werror -I$headers/include $main $zlib/lib/libz.a -o roundtrip
      seq 1 200000 > numbers
      ./roundtrip pack < numbers | gzip -dc | cmp - numbers
      gzip -c numbers | ./roundtrip unpack | cmp - numbers
      echo "200,000 numbers survived both ways" | tee $out
    '';
  };

  # A module for Lua, written in C, on top of zlib.
  lua-zlib = build {
    name = "lua-zlib";
    inherit lua zlib;
    headers = zlib.dev;
    module = ./src/luazlib.c;
    script = ''
      mkdir -p $out/lib/lua
      gcc -O2 -Wall -Werror -shared -fPIC -I$lua/include -I$headers/include $module \
        -L$zlib/lib -Wl,-rpath,$zlib/lib -lz -o $out/lib/lua/crc.so
      LUA_CPATH="$out/lib/lua/?.so" $lua/bin/lua -e 'assert(require("crc").crc32("123456789") == 0xcbf43926)'
    '';
  };

  # A script, run by the interpreter that was just built.
  lua-script = build {
    name = "lua-script";
    inherit lua;
    test = ./src/words.lua;
    script = "$lua/bin/lua $test | tee $out";
  };

  # A derivation without any input.
  shell = derivation {
    name = "shell";
    inherit system;
    builder = "/bin/sh";
    args = [ "-euc" ''echo "the sandbox has a /bin/sh"; echo ok > $out'' ];
  };

  # What a build must not be able to see.
  sandbox = derivation {
    name = "sandbox";
    inherit system;
    builder = "/bin/sh";
    args = [ "-euc" ''
      for path in /home /root /usr /var /nix/var; do
        [ ! -e $path ] || { echo "$path is visible in the sandbox"; exit 1; }
      done
      while read -r interface rest; do
        case $interface in
          lo:* | Inter-* | face*) ;;
          *) echo "the sandbox has a network interface: $interface"; exit 1 ;;
        esac
      done < /proc/net/dev
      echo ok > $out
    '' ];
  };
}
