# Perl and Python, if a test put the machine's own programs and libraries into `interpreters`:
# they are inputs like any other, so that the builds see nothing of the machine.
{ shell, interpreters }:
let
  has = name: builtins.pathExists (interpreters + "/${name}");
  given = name: make: if has name then make (interpreters + "/${name}") else { };
in
given "perl" (perl: {
  perl = shell { inherit perl; } "perl" ''
    run() { $perl/lib/ld.so --library-path $perl/lib $perl/bin/perl -I$perl/modules "$@"; }
    run -e 'use strict; use warnings; use File::Spec; my %h = map { $_ => $_ ** 2 } 1..50;
      print join(",", map { "$_=$h{$_}" } sort { $a <=> $b } keys %h), "\n"; print "$0 $^O $]\n", join(":", sort map { "$_=$ENV{$_}" } grep { /TMP|HOME/ } keys %ENV), "\n";
      opendir my $d, $ENV{perl} or die; print join(" ", sort readdir $d), "\n"; print((stat "$ENV{perl}/bin/perl")[9], "\n"); print umask, " $< $(\n";' > $out'';
}) // given "python" (python: {
  python = shell { inherit python; PYTHONHASHSEED = "0"; PYTHONDONTWRITEBYTECODE = "1"; } "python" ''
    run() { PYTHONHOME=$python PYTHONPATH=$python/modules $python/lib/ld.so --library-path $python/lib $python/bin/python -S "$@"; }
    run -c 'import os, sys, hashlib, json
    print(json.dumps({"names": sorted(os.listdir(os.environ["python"])), "uid": os.getuid(), "cwd": os.getcwd(),
      "mtime": os.stat(os.environ["python"] + "/bin/python").st_mtime, "sum": hashlib.sha256(b"x").hexdigest(),
      "set": list({"a", "b", "c", "d"}), "hash": hash("text"), "umask": os.umask(18)}, sort_keys=True))' > $out'';
  python-bytecode = shell { inherit python; PYTHONHASHSEED = "0"; } "python-bytecode" ''
    mkdir $out; printf 'def f(x):\n    return [x, "%s"]\n' $python > $out/module.py
    PYTHONHOME=$python PYTHONPATH=$python/modules $python/lib/ld.so --library-path $python/lib $python/bin/python -S -c \
      "import py_compile, sys; py_compile.compile(sys.argv[1], cfile=sys.argv[2], invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)" $out/module.py $out/module.pyc'';
})
