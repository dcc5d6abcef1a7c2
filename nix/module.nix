# The NixOS module. It does not know of the server yet, so there is little to switch on: the program, and the
# settings of Nix that `esker check` relies on.
{ config, lib, pkgs, ... }:
let
  cfg = config.programs.esker;
in {
  options.programs.esker = {
    enable = lib.mkEnableOption "Esker, to check flakes on this machine";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package that provides `esker`.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    nix.settings = {
      # A check that passes here must not do so because of what else is on this machine.
      sandbox = lib.mkDefault true;
      experimental-features = [ "nix-command" "flakes" ];
    };
  };
}
