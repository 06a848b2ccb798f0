# `make demo` and `make test` do all the set-up they need; a second run does none.
.PHONY: setup ready demo test test-real bench

# Tries again what an earlier set-up had to leave out.
setup:
	@rm -f node_modules/.no-live-capture
	@.ci/setup
	@echo 'ready: ./hookline --help, make demo, make test'

ready:
	@.ci/setup

demo: ready
	@./hookline demo

test: ready
	npm run --silent lint
	npm run --silent types
	npm run --silent test

# Against real servers and interfaces: installs them when run as root, else skips by name.
test-real: ready
	@.ci/test-real

bench: ready
	npm run --silent bench
