"""Real C projects, built with the toolchain of the demo, as a flake."""

import os
import shutil
import subprocess
from pathlib import Path

from contest import ROOT

TOOLCHAIN = ROOT / "flakes/demo/toolchain"

# Each script ends with a builtin of the shell: Nix kills a builder the moment it closes its output,
# and `cp`, as the last command, does so before it exits.
PROJECTS = """{
  outputs = { self }: let
    tools = import ./toolchain { system = "x86_64-linux"; };
    salted = attrs: tools.build (attrs // { salt = "@salt@"; });
    xz = builtins.path { path = ./xz.orig.tar.xz; name = "xz.orig.tar.xz"; };
  in {
    packages.x86_64-linux = { inherit (tools) toolchain; };
    checks.x86_64-linux = {
      lua = salted { name = "lua"; src = tools.source "lua5.4"; script = "make -j$NIX_BUILD_CORES linux CC=gcc; make install INSTALL_TOP=$out"; };
      configure = salted { name = "configure"; src = xz; script = "bash ./configure --prefix=$out --disable-nls --disable-doc; cp config.h $out; true"; };
      libtool = salted { name = "libtool"; src = xz; script = "bash ./configure --prefix=$out --disable-nls --disable-doc > /dev/null; make -j$NIX_BUILD_CORES -C src/liblzma > /dev/null; cp src/liblzma/.libs/liblzma.a $out; true"; };
    };
  };
}
"""


def write_projects(folder, salt):
    """Writes the flake, with a toolchain of its own that may be changed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "flake.nix").write_text(PROJECTS.replace("@salt@", salt))
    shutil.copytree(TOOLCHAIN, folder / "toolchain")
    shutil.copy(xz(), folder / "xz.orig.tar.xz")
    return folder


def archive():
    """Address of the Debian archive that this machine's apt names."""
    return subprocess.run([TOOLCHAIN / "mirror.sh"], capture_output=True, text=True, check=True).stdout.strip()


def xz():
    """The source of xz, from that archive."""
    kept = Path.home() / ".cache/esker-bench/xz.orig.tar.xz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        url = f"{archive()}/pool/main/x/xz-utils/xz-utils_5.4.1.orig.tar.xz"
        subprocess.run(["curl", "-fsSL", "-o", f"{kept}.part", url], check=True)
        os.rename(f"{kept}.part", kept)
    return kept
