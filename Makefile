# The commands a person needs. Each is a script in scripts/, and says what it does.

.PHONY: help demo test bench bench-trace bench-rekeyed debian-updates soak book

help:
	@echo "make demo           build Esker and let it check a flake of real C projects"
	@echo "make test           everything that CI runs"
	@echo "make bench          measure Esker against plain Nix, into docs/benchmarks.md"
	@echo "make bench-trace    measure traced builds against Nix's own, into docs/benchmarks.md"
	@echo "make bench-rekeyed  10,000 derivations with new hashes: how long until all are reused?"
	@echo "make debian-updates which updates of single Debian packages leave C builds as they are?"
	@echo "make soak           reuse thousands of results and have Nix build each: is one ever false?"
	@echo "make book           the manual as a web site, into docs/book (needs mdbook)"

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

bench:
	@scripts/bench.sh --write docs/benchmarks.md

bench-trace:
	@scripts/bench.sh traced --write docs/benchmarks.md

bench-rekeyed:
	@scripts/bench.sh traced --case rekeyed --write docs/benchmarks.md

debian-updates:
	@scripts/bench.sh updates --next trixie --write docs/benchmarks.md

soak:
	@scripts/soak.sh

book:
	@mdbook build docs
