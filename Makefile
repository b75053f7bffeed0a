# make demo   two boxes between two hosts, keys from two registrars, in network namespaces: what it is, on one screen
# make bench  all benchmarks, with the libraries to compare with: bench/results
# make test   everything: set-up, formatting, lints, unit, property and interleaving tests, fuzzing, end to end
# The parts of them, and what they need, are in docs/testing.md.

CARGO ?= cargo
# Namespaces need root. What is run as root was built before, by the user.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo "sudo -E")
# As cargo spells it in the names of variables.
TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
FUZZ_SECONDS ?= 30
THREADS ?= $(shell echo $$((2 * $$(nproc))))
DEBUG = $(or $(CARGO_TARGET_DIR),target)/debug

.PHONY: all setup build test fmt house deps deny scripts lint unit loom fuzz disk e2e page demo bench claims instructions rfc2544 avx512 secrets doc deb deb-test oci oci-test rpm vm vm-short clean

all: build

setup:
	@.ci/setup.sh test

build: setup
	$(CARGO) build --release --workspace --exclude pdmv2-fuzz --locked

# Cargo compiles a dependency again for each set of features that is asked for. So all of these ask for the whole
# workspace, in one profile, and run what was built before.
test: setup fmt house deps scripts lint doc unit
	@$(MAKE) --no-print-directory -j2 --output-sync disk loom fuzz
	@$(MAKE) --no-print-directory e2e
	@echo "All tests passed."

fmt:
	$(CARGO) fmt --all --check

# Lengths of files and functions, reasons of `allow`; and that these checks find what they are there to find.
house:
	@.ci/house.sh
	@python3 .ci/checks_test.py -q

# Licences, sources, second versions and unused dependencies, by what cargo knows.
deps: setup
	@.ci/dependencies.py

# The same and more by cargo-deny, which is installed when it is missing. CI runs it too.
deny: setup
	@.ci/deny.sh

# The load generators' scripts, against stand-ins that refuse what the generators refuse; what the virtual machines run of the README.
scripts: setup
	lua5.4 bench/pktgen/tests/all.lua
	@python3 bench/trex/tests/all.py -q
	@python3 bench/vm/tests.py -q

lint: setup
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc: setup
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

# More threads than cores: registrars and boxes wait for each other most of the time.
unit: setup
	RUST_TEST_THREADS=$(THREADS) $(CARGO) test --workspace --locked --quiet -- --skip e2e_
	$(DEBUG)/pdmv2 selftest --vectors protocol/tests/vectors/pdmv2.json

# The interleavings of the lock-free parts, explored by loom.
loom: setup
	RUSTFLAGS="--cfg loom" $(CARGO) test --profile loom --locked --target-dir target/loom -p protocol -p pipeline \
		--no-default-features --lib --quiet loom_

fuzz: setup
	$(CARGO) test --workspace --locked --quiet --test targets --no-run
	$(DEBUG)/fuzz-smoke --seconds $(FUZZ_SECONDS)

# Two boxes between two kernels, in network namespaces.
e2e: setup
	$(if $(SUDO),CARGO_TARGET_$(TRIPLE)_RUNNER="$(SUDO)") \
		$(CARGO) test --workspace --locked --test e2e -- --test-threads=1 e2e_

# The page of a box under traffic, in a browser without a screen: PDMV2_PAGE_DIR=DIR keeps the pictures.
page:
	@.ci/setup.sh page
	$(if $(SUDO),CARGO_TARGET_$(TRIPLE)_RUNNER="$(SUDO)") \
		$(CARGO) test --workspace --locked --test e2e -- --test-threads=1 --nocapture e2e_the_page

# A registrar whose disk is full: mostly waiting, so that other things can run beside it.
disk: setup
	$(if $(SUDO),CARGO_TARGET_$(TRIPLE)_RUNNER="$(SUDO)") \
		$(CARGO) test --workspace --locked --quiet --test registration -- --test-threads=1 e2e_

demo: build
	$(SUDO) target/release/bench demo

# The AEAD benchmark also as built for this CPU alone; ring and aws-lc-rs are C and assembly, which that does not change.
bench:
	@.ci/setup.sh bench
	$(CARGO) build --release --workspace --exclude pdmv2-fuzz --locked --features bench/peers
	RUSTFLAGS="-C target-cpu=native" $(CARGO) build --release --locked -p bench --target-dir target/native
	target/native/release/bench all --only aead
	$(SUDO) target/release/bench all
	$(if $(SUDO),$(SUDO) chown -R "$$(id -u):$$(id -g)" bench/results)
	$(SUDO) target/release/bench tcp-ratio

# The highest rate without loss, between ports of one process: RFC2544="--full" for trials of a minute.
rfc2544: build
	$(SUDO) target/release/bench rfc2544 $(RFC2544)

# What is said of the box's speed, measured anew: exit 1 when something falls short. Peers that are missing are installed.
claims:
	@.ci/setup.sh bench
	$(CARGO) build --release --workspace --exclude pdmv2-fuzz --locked --features bench/peers
	$(SUDO) target/release/bench claims

# Instructions per packet against the kept ones; does not depend on the machine's speed, only on the compiler.
instructions:
	@.ci/setup.sh bench
	$(CARGO) build --release --locked -p bench
	target/release/bench instructions --check

# The AEAD kernels of all instruction sets and the outbound lanes, executed by an emulated CPU that has AVX-512.
avx512:
	protocol/tests/avx512/run.sh
	pipeline/tests/avx512/run.sh

# What depends on keys and texts in the AEAD kernels and the lanes, seen by valgrind: nothing must. The tests in it say so.
secrets:
	@command -v valgrind >/dev/null || { echo "Install valgrind" >&2; exit 1; }
	CARGO_TARGET_$(TRIPLE)_RUNNER="valgrind -q" \
		$(CARGO) test --release --locked -p protocol -p pipeline --no-default-features --lib nothing_depends_on_secrets -- --nocapture

# Packages for Debian and Ubuntu, in target/deb: of programs that are built already with BIN=DIR.
deb: $(if $(BIN),,build)
	@.ci/setup.sh deb
	@.ci/deb.sh $(or $(BIN),target/release) target/deb

# What is in them, and installing, upgrading and purging them in a copy of this machine: an overlay that is thrown away.
deb-test: $(if $(BIN),,build)
	@.ci/setup.sh deb
	$(SUDO) .ci/deb_test.sh $(or $(BIN),target/release)

# The same as rpm packages, for distributions with DPDK 22.11.
rpm: deb
	@.ci/setup.sh rpm
	@.ci/rpm.sh target/deb target/rpm

# An OCI image of the packages, without a daemon; and that the box in it runs.
oci: deb
	@.ci/oci.py target/deb target/deb/pdmv2-middlebox.oci.tar

oci-test: oci
	$(SUDO) .ci/oci_test.py target/deb/pdmv2-middlebox.oci.tar

# Two virtual machines with a box each, on NICs that QEMU emulates: the README's chapter from the packages, traffic, cables,
# restarts, upgrades. VM="--nic e1000e --only links --keep", VM=--help.
vm: deb
	@.ci/setup.sh vm
	@VERSION="$$(dpkg-deb -f target/deb/pdmv2_*.deb Version)+newer" .ci/deb.sh $(or $(BIN),target/release) target/deb-newer >/dev/null
	$(SUDO) bench/vm/run.py $(VM)

# One kind of NIC, and what takes little: some eight minutes once the image is made, where machines are emulated; five of them are apt's.
vm-short: deb
	@.ci/setup.sh vm
	$(SUDO) bench/vm/run.py --short $(VM)

clean:
	$(CARGO) clean
