# Evaluates attributes of `target` one by one and says on stderr what each is.
#
# Each line begins with the request's nonce, which `target` never sees, so that no
# `builtins.trace` of its own can be taken for an answer:
#   N {…}         a root: its path and the names in it, or why there is none
#   B ID          begins with attribute ID; what follows belongs to it
#   D ID PATH     it is a derivation, written to the store at PATH
#   S ID [names]  it is a set to look into
#   X ID TYPE     it is something else
# An attribute that fails says nothing more: Nix prints the error, `nix flake check
# --keep-going` goes on with the next one.
{ target, request }:
let
  inherit (builtins)
    all attrNames concatMap elemAt filter foldl' genList head isAttrs length listToAttrs match removeAttrs tail
    throw toJSON toString trace typeOf unsafeDiscardStringContext;

  say = text: trace "${request.nonce} ${text}";
  nothing = throw request.nonce;

  has = value: path:
    path == [ ] || (isAttrs value && value ? ${head path} && has value.${head path} (tail path));
  reach = foldl' (value: name: value.${name});
  isDerivation = value: isAttrs value && (value.type or null) == "derivation";
  isSystem = name: match "[a-z0-9_]+-[a-z0-9]+" name != null;

  # The deepest part of `path` that exists, for "did you mean".
  nearest = value: path:
    if path == [ ] || !isAttrs value || isDerivation value then [ ]
    else if value ? ${head path} then nearest value.${head path} (tail path)
    else attrNames value;

  # What stands in the way of `path`: the place and type of the first value that is no set.
  obstacle = value: path: at:
    if path == [ ] then null
    else if !isAttrs value then { path = at; type = typeOf value; }
    else if value ? ${head path} then obstacle value.${head path} (tail path) (at ++ [ (head path) ])
    else null;

  # Of the first few candidates: the last resorts are large sets.
  likely = filter (candidate: !candidate.lastResort);
  beside = wanted:
    let names = concatMap (candidate: nearest target candidate.path) (likely wanted);
    in attrNames (listToAttrs (map (name: { inherit name; value = null; }) names));

  # A candidate that must end in a system's name does not fit a set of systems without ours.
  fits = candidate:
    has target candidate.path
    && (!candidate.unlessSystems
      || (let value = reach target candidate.path; in
        !isAttrs value || isDerivation value || value == { } || !(all isSystem (attrNames value))));

  root = index:
    let
      wanted = elemAt request.roots index;
      found = filter fits wanted;
      path = (head found).path;
      value = reach target path;
      base = { root = index; };
      obstacles = filter (found: found != null) (map (candidate: obstacle target candidate.path [ ]) (likely wanted));
    in
    if found == [ ] && obstacles != [ ] then base // { names = [ ]; } // head obstacles
    else if found == [ ] then base // { missing = true; names = beside wanted; values = { }; }
    else if isDerivation value then base // { inherit path value; single = true; names = [ ]; }
    else if isAttrs value then base // { inherit path value; names = attrNames value; }
    else base // { inherit path; type = typeOf value; names = [ ]; };

  roots = genList root (length request.roots);
  announce = rest:
    foldl' (rest: root: say "N ${toJSON (removeAttrs root [ "value" "values" ])}" rest) rest roots;

  entries =
    if request.work ? list then request.work.list
    else if request.work ? names then [ ]
    else concatMap
      (root:
        if root ? single then [{ id = "${toString root.root}."; inherit (root) root; path = [ ]; }]
        else genList (i: { id = "${toString root.root}.${toString i}"; inherit (root) root; path = [ (elemAt root.names i) ]; })
          (if root ? value then length root.names else 0))
      roots;

  evaluate = entry:
    let
      value = reach (elemAt roots entry.root).value entry.path;
      marked = request.recurse == "always" || value.recurseForDerivations or false == true;
      answer =
        if isDerivation value then say "D ${entry.id} ${unsafeDiscardStringContext value.drvPath}" value
        else if isAttrs value && marked then say "S ${entry.id} ${toJSON (attrNames value)}" nothing
        else say "X ${entry.id} ${typeOf value}" nothing;
    in
    say "B ${entry.id}" answer;

  jobs = listToAttrs (map (entry: { name = entry.id; value = evaluate entry; }) entries);
in
if request.work ? list then jobs else announce jobs
