# mpsup. One file, not recursive: a folder below lib/ is an archive, each cmd/ folder a program.
# make help lists what there is. SAN=address,undefined|thread, COV=1, CC=clang, V=1 each build in a tree of their own.

VERSION := 0.1.0

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec/mpsup
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
MANDIR ?= $(PREFIX)/share/man
SYSCONFDIR ?= /etc
DOCDIR ?= $(PREFIX)/share/doc/mpsup
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d

SAN ?=
COV ?=
CC := $(if $(filter default,$(origin CC)),$(if $(COV),clang,gcc),$(CC))
V ?=
WERROR ?= $(if $(CI),1,)
comma := ,
VARIANT := $(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(COV),-cov)
B ?= build/$(VARIANT)
Q := $(if $(V),,@)

OPT ?= -O2 -g
PKGS := libuv inih jansson zlib
# What libmpsup needs beside libuv.
IPC_PKGS := nettle msgpack
LIB_PKGS := libuv $(IPC_PKGS)
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS) $(IPC_PKGS) 2>/dev/null)
PKG_LIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null)
IPC_LIBS = $(shell pkg-config --libs $(IPC_PKGS) 2>/dev/null)
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings \
	-Wundef -Wformat=2 -Wvla $(if $(WERROR),-Werror)
# Without optimisation there is nothing that _FORTIFY_SOURCE could check by.
HARDEN := $(if $(SAN)$(COV),,$(if $(findstring -O0,$(OPT) $(CFLAGS)),,-D_FORTIFY_SOURCE=$(or $(FORTIFY),2)) -fstack-protector-strong)
CFLAGS ?= $(OPT)
# clang's counters, which are in files that all processes share: what is killed, leaves by _exit or shares memory is counted
# like any other. -main-file-name below: functions of two files with one name are two.
PROFILES := $(abspath $(B))/profiles
COVER := $(if $(COV),-fprofile-instr-generate=$(PROFILES)/%m%c.profraw)
COVER_CC := $(if $(COV),$(COVER) -fcoverage-mapping -fprofile-update=atomic -mllvm -runtime-counter-relocation=true)
# Where a long has 32 bits: times after 2038, files beyond 2 GiB.
WIDE := $(if $(filter 4,$(shell echo __SIZEOF_LONG__ | $(CC) $(CFLAGS) -E -P - 2>/dev/null)),-D_TIME_BITS=64 -D_FILE_OFFSET_BITS=64)
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(WIDE) -DMPSUP_VERSION='"$(VERSION)"' -Ilib -Icmd -fPIC -fvisibility=hidden -fno-common $(WARN) $(HARDEN) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined) \
	$(COVER_CC) $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pie $(if $(SAN)$(COV),,-Wl,-z,relro,-z,now) -Wl,--as-needed $(if $(SAN),-fsanitize=$(SAN)) $(COVER) $(LDFLAGS)

# Floors, highest first: an archive may only need those after it.
FLOORS := sup keeper map manager pool ipc track conf proc base
SUP_FLOORS := sup keeper map manager ipc track conf proc base
HOST_FLOORS := keeper track proc base
# What libmpsup is made of; tests get all there is.
LIB_FLOORS := manager pool ipc track proc base
TEST_FLOORS := $(FLOORS)
srcs = $(sort $(wildcard $(1)/*.c))
objs = $(patsubst %.c,$(B)/obj/%.o,$(call srcs,$(1)))
archives = $(foreach f,$(1),$(B)/lib$(f).a)

UNITS := $(patsubst tests/unit/test_%.c,$(B)/unit/%,$(call srcs,tests/unit))
STRESS := $(patsubst tests/stress/%.c,$(B)/stress/%,$(call srcs,tests/stress))
BENCH := $(patsubst tests/bench/%.c,$(B)/bench/%,$(call srcs,tests/bench))
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
HELPERS := $(patsubst tests/e2e/%.c,$(B)/e2e/%,$(call srcs,tests/e2e)) $(B)/e2e/worker.so \
	$(addprefix $(B)/preload/,actor actor-static actor-asan actor-asan-within other.so nth.so)

FAULT_HELPERS := $(B)/faults/orphans $(B)/faults/clock.so

LIBMPSUP := $(B)/libmpsup.so.$(VERSION) $(B)/libmpsup.a
SHELLS := bash zsh fish
.PHONY: all
all: $(B)/mpsup $(B)/mpsup-host $(B)/libmpsup-preload.so $(LIBMPSUP) $(B)/examples/collect.so links $(addprefix $(B)/completion.,$(SHELLS))

# build/mpsup is always the default build's.
.PHONY: links
links: $(B)/mpsup $(B)/mpsup-host $(B)/libmpsup-preload.so $(LIBMPSUP)
	$(Q)[ "$(B)" != build/gcc ] || for p in mpsup mpsup-host libmpsup-preload.so $(SHIM) libmpsup.so libmpsup.a $(SONAME) examples; do ln -sfn gcc/$$p build/$$p; done

# New or other flags: what they come from may be missing.
$(B)/flags: FORCE
	$(Q)mkdir -p $(@D); echo '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' >$@.new; \
		if cmp -s $@.new $@; then rm $@.new; else CC='$(CC)' scripts/deps check $(PKGS) $(IPC_PKGS) && mv $@.new $@; fi
.PHONY: FORCE
FORCE:

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $<")
	$(Q)$(CC) $(ALL_CFLAGS) $(if $(COV),-Xclang -main-file-name -Xclang $<) -MMD -MP -c -o $@ $<

# Where libmpsup looks for mpsup-host in the end; all else is built alike wherever it is to be installed.
$(B)/libexecdir: FORCE
	$(Q)mkdir -p $(@D); echo '$(LIBEXECDIR)' >$@.new; if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
$(B)/obj/lib/ipc/host.o: $(B)/libexecdir
$(B)/obj/lib/ipc/host.o: private PKG_CFLAGS += -DMPSUP_LIBEXECDIR='"$(LIBEXECDIR)"'

define floor
$(B)/lib$(1).a: $(call objs,lib/$(1))
	$(if $(V),,@echo "  AR $$@")
	$(Q)rm -f $$@; ar rcs $$@ $$^
endef
$(foreach f,$(FLOORS),$(eval $(call floor,$(f))))

link = $(if $(V),,@echo "  LD $@")
# Each is there whole or not: another place to be installed to links them anew (libexecdir), beside programs that run.
$(B)/mpsup: $(call objs,cmd/mpsup) $(call archives,$(SUP_FLOORS))
	$(link)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@.new $^ $(PKG_LIBS) $(IPC_LIBS) -pthread && mv -f $@.new $@
$(B)/mpsup-host: $(call objs,cmd/mpsup-host) $(call archives,$(HOST_FLOORS))
	$(link)
	$(Q)$(CC) $(ALL_LDFLAGS) -pthread -o $@.new $^ && mv -f $@.new $@

# What programs of others are made to load: needs libc and nothing else, no sanitizer either. By its second name it may
# stand before AddressSanitizer (lib/proc/elf.h).
SHIM := libmpsup-preload.before-libasan.so
$(B)/libmpsup-preload.so: $(call srcs,lib/preload) $(wildcard lib/preload/*.h) lib/track/slate.h $(B)/flags
	$(link)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -Ilib $(OPT) -fPIC -fvisibility=hidden -fno-stack-protector $(WARN) \
		-shared -Wl,-z,now,-z,relro,-z,defs,-z,noseparate-code,--as-needed $(COVER_CC) -o $@ $(filter %.c,$^)
	$(Q)ln -sf libmpsup-preload.so $(@D)/$(SHIM)

# The library: what lib/mpsup.h declares is all that can be seen of it, in the archive too (one object, the rest made local).
# Each is there whole or not, as above.
SOVERSION := 0
SONAME := libmpsup.so.$(SOVERSION)
# It asks nobody who a user is, of which the linker would warn programs that are static, and opens no names for root.
LIB_OBJS := $(filter-out $(B)/obj/lib/base/user.o $(B)/obj/lib/base/path.o,$(foreach f,$(LIB_FLOORS),$(call objs,lib/$(f))))
$(B)/libmpsup.so.$(VERSION): $(LIB_OBJS) lib/libmpsup.map
	$(link)
	$(Q)$(CC) $(filter-out -pie,$(ALL_LDFLAGS)) -shared -Wl,-soname,$(SONAME),--version-script=lib/libmpsup.map$(if $(SAN),,$(comma)-z$(comma)defs) \
		-o $@.new $(LIB_OBJS) $(shell pkg-config --libs $(LIB_PKGS)) -pthread && mv -f $@.new $@
	$(Q)ln -sf $(@F) $(@D)/$(SONAME); ln -sf $(SONAME) $(@D)/libmpsup.so
$(B)/libmpsup.a: $(LIB_OBJS)
	$(if $(V),,@echo "  AR $@")
	$(Q)rm -f $@.new; $(LD) -r -o $(B)/mpsup.o $^ && objcopy --localize-hidden $(B)/mpsup.o && \
		ar rcs $@.new $(B)/mpsup.o && mv -f $@.new $@
$(B)/mpsup.pc: lib/mpsup.pc.in $(B)/flags
	$(Q)sed 's,@PREFIX@,$(PREFIX),; s,@LIBDIR@,$(LIBDIR),; s,@INCLUDEDIR@,$(INCLUDEDIR),; s,@VERSION@,$(VERSION),; s,@REQUIRES@,$(LIB_PKGS),' $< >$@

# What shells need to complete command lines comes from the program's own tables.
$(B)/completion.%: $(B)/mpsup
	$(Q)$(B)/mpsup completion $* >$@.new && mv $@.new $@

# ------------------------------------------------------------------------------------------------ tests
$(B)/unit/%: $(B)/obj/tests/unit/test_%.o $(if $(COV),$(B)/obj/tests/early.o) $(call archives,$(TEST_FLOORS))
	@mkdir -p $(@D)
	$(link)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(PKG_LIBS) $(IPC_LIBS) -lcriterion -pthread
# Their values are written in JSON.
$(addprefix $(B)/unit/manager_,server snapshot types): $(B)/obj/cmd/mpsup/packed.o
$(B)/unit/mpsup_snapshot: $(B)/obj/cmd/mpsup/snapshot.o
$(B)/stress/%: $(B)/obj/tests/stress/%.o $(call archives,$(TEST_FLOORS))
	@mkdir -p $(@D)
	$(link)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) $(IPC_LIBS) -pthread
$(B)/bench/%: $(B)/obj/tests/bench/%.o $(call archives,$(TEST_FLOORS))
	@mkdir -p $(@D)
	$(link)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) $(IPC_LIBS) -pthread
# The workers of tests and benchmarks: static where they can be, so that what is timed is not the loader.
$(B)/e2e/%: tests/e2e/%.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -static -o $@ $<

# It is made to load the shim.
$(B)/e2e/ipc: tests/e2e/ipc.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -o $@ $<

# It is a program of libmpsup's.
$(B)/e2e/interop: tests/e2e/interop.c lib/mpsup.h $(B)/libmpsup.so.$(VERSION)
	@mkdir -p $(@D)
	$(link)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) $(if $(SAN),-fsanitize=$(SAN)) -Ilib -o $@ $< -L$(B) -lmpsup -Wl,-rpath,'$$ORIGIN/..'

# Shared objects for entries: the same with its main, and the collector of tests/examples.
shared = $(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -fPIC -shared -o $@ $<
$(B)/e2e/%.so: tests/e2e/%.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(shared)
$(B)/examples/%.so: tests/examples/%.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(shared)
$(B)/faults/%.so: tests/faults/%.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(shared)
$(B)/faults/%: tests/faults/%.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -static -o $@ $<

# Programs that know nothing of our shim: as most are, as it cannot be loaded into, and with AddressSanitizer, whose run
# time is a shared object or within the program.
actor = $(Q)$(1) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) $(2) -o $@ $< -pthread
$(B)/preload/actor: tests/preload/actor.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(call actor,$(CC))
$(B)/preload/actor-static: tests/preload/actor.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(call actor,$(CC),-static -Wl$(comma)-w)
$(B)/preload/actor-asan: tests/preload/actor.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(call actor,gcc,-fsanitize=address)
$(B)/preload/actor-asan-within: tests/preload/actor.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(call actor,gcc,-fsanitize=address -static-libasan)
$(B)/preload/%.so: tests/preload/%.c $(B)/flags
	@mkdir -p $(@D)
	$(link)
	$(shared)

.PHONY: test unit e2e stress corpus bench valgrind
test: | $(filter lint,$(MAKECMDGOALS))
	$(Q)scripts/deps test
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)B=$(B) SAN=$(SAN) tests/run unit corpus e2e
# All that tests and benchmarks run, built.
.PHONY: tests
tests: all $(UNITS) $(STRESS) $(BENCH) $(HELPERS) $(FAULT_HELPERS) $(addprefix $(B)/replay/,$(FUZZERS))
unit: all $(UNITS) $(HELPERS)
	$(Q)B=$(B) SAN=$(SAN) tests/run unit
e2e: all $(HELPERS)
	$(Q)B=$(B) SAN=$(SAN) tests/run e2e
corpus: $(addprefix $(B)/replay/,$(FUZZERS))
	$(Q)B=$(B) SAN=$(SAN) tests/run corpus
stress: all $(STRESS) $(HELPERS)
	$(Q)B=$(B) SAN=$(SAN) tests/run stress
# Every call that can fail, made to: rows and kinds of tests/e2e/errors.sh.
.PHONY: errors
errors: all $(HELPERS)
	$(Q)B=$(B) SWEEP=$(SWEEP) SEED=$(SEED) ROWS="$(ROWS)" KINDS="$(KINDS)" tests/e2e/errors.sh
# As much of libmpsup as there is without libraries of others, and its unit tests.
.PHONY: musl m32
musl m32:
	$(Q)scripts/static/build $@
# What is handed out, built anew from the last commit.
.PHONY: installed
installed:
	$(Q)tests/install/tree.sh
# In a tree of its own: see the scripts.
valgrind:
	$(Q)$(MAKE) --no-print-directory B=build/valgrind CFLAGS='-O1 -g -DKEEPER_INSTANCES_MAX=64' tests-of-valgrind
.PHONY: tests-of-valgrind
tests-of-valgrind: $(B)/mpsup $(B)/mpsup-host $(HELPERS)
	$(Q)B=$(B) tests/stress/valgrind.sh || [ $$? = 77 ]
	$(Q)B=$(B) tests/stress/valgrind-verbs.sh || [ $$? = 77 ]
bench: all $(BENCH) $(HELPERS)
	$(Q)B=$(B) tests/bench/run $(BENCH_ARGS)
.PHONY: faults
faults: all $(HELPERS) $(FAULT_HELPERS)
	$(Q)B=$(B) tests/faults/run $(FAULTS_ARGS)
# Where a program of a suite fails the others are written down all the same.
.PHONY: bench-report bench-deps
bench-report: all $(BENCH) $(HELPERS)
	$(Q)B=$(B) tests/bench/run --json --verbose $(BENCH_ARGS) >$(B)/bench.json; r=$$?; tests/bench/report $(B)/bench.json && exit $$r
bench-deps:
	$(Q)scripts/deps bench

# Fuzzers: libFuzzer (clang) in make fuzz; the same code with a plain main replays the corpus in make test.
FUZZ_SECONDS ?= 60
$(B)/replay/%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/obj/tests/fuzz/replay.o $(call archives,$(TEST_FLOORS))
	@mkdir -p $(@D)
	$(link)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) $(IPC_LIBS) -pthread
$(B)/fuzz/%: $(B)/obj/tests/fuzz/fuzz_%.o $(call archives,$(TEST_FLOORS))
	@mkdir -p $(@D)
	$(link)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(PKG_LIBS) $(IPC_LIBS) -pthread
# What is found on the way is kept in build/fuzz/corpus; make fuzz-minimize takes of that and of the corpus what is needed.
FUZZ := $(MAKE) --no-print-directory B=build/fuzz CC=clang SAN=fuzzer-no-link,address,undefined OPT='-O1 -g'
.PHONY: fuzz fuzz-minimize fuzzers
fuzz:
	$(Q)$(FUZZ) fuzzers
	$(Q)FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz search $(FUZZERS)
fuzz-minimize:
	$(Q)$(FUZZ) fuzzers
	$(Q)scripts/fuzz minimize $(FUZZERS)
fuzzers: $(addprefix $(B)/fuzz/,$(FUZZERS))

# All tests with counters; then tests/cover prints what they reach of lib/ and compares the rest with tests/uncovered.
.PHONY: cover
cover:
	$(Q)scripts/deps cover
	$(Q)$(MAKE) --no-print-directory COV=1 tests
	$(Q)tests/cover run build/clang-cov

# ------------------------------------------------------------------------------------------------ checks
C_FILES := $(sort $(shell find cmd lib tests -name '*.[ch]' 2>/dev/null))
.PHONY: lint format
lint:
	$(Q)clang-format --dry-run -Werror $(C_FILES)
	$(Q)scripts/check-floors
	$(Q)scripts/check-security
	$(Q)for p in man/*.[1-9]; do mandoc -Tlint -Wwarning $$p || exit 1; done
	$(Q)shellcheck -x $$(find .ci scripts tests -path tests/fuzz/corpus -prune -o -type f -exec awk 'FNR == 1 && /^#!.*sh$$/ { print FILENAME } { nextfile }' {} +)
	$(Q)$(MAKE) --no-print-directory CC=clang WERROR=1 tests
	$(Q)$(MAKE) --no-print-directory CC=gcc WERROR=1 tests
# Slow, so not part of it.
.PHONY: analyze
analyze:
	$(Q)JOBS=$(or $(JOBS),2) scripts/analyze
format:
	clang-format -i $(C_FILES)

# ------------------------------------------------------------------------------------------------ use
.PHONY: run deps install uninstall dist clean help
run:
	$(Q)scripts/deps run
	$(Q)$(MAKE) --no-print-directory all
	$(Q)build/mpsup run --insecure -c supervisor.ini.example
deps:
	$(Q)scripts/deps

install: all
	$(Q)rm -f $(B)/mpsup.pc; $(MAKE) --no-print-directory $(B)/mpsup.pc
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR) $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(PKGCONFIGDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(DOCDIR)
	install -m 755 $(B)/mpsup $(DESTDIR)$(BINDIR)/mpsup
	install -m 755 $(B)/mpsup-host $(DESTDIR)$(LIBEXECDIR)/mpsup-host
	install -m 644 $(B)/libmpsup-preload.so $(DESTDIR)$(LIBEXECDIR)/libmpsup-preload.so
	ln -sf libmpsup-preload.so $(DESTDIR)$(LIBEXECDIR)/$(SHIM)
	install -m 644 lib/mpsup.h $(DESTDIR)$(INCLUDEDIR)/mpsup.h
	install -m 644 $(B)/mpsup.pc $(DESTDIR)$(PKGCONFIGDIR)/mpsup.pc
	install -m 644 $(B)/libmpsup.a $(DESTDIR)$(LIBDIR)/libmpsup.a
	install -m 755 $(B)/libmpsup.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libmpsup.so.$(VERSION)
	ln -sf libmpsup.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libmpsup.so
	install -m 644 README.md CHANGES.md SECURITY.md LICENSE supervisor.ini.example $(DESTDIR)$(DOCDIR)
	[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig || :
	for p in man/*.[1-9]; do s=$${p##*.}; install -D -m 644 $$p $(DESTDIR)$(MANDIR)/man$$s/$${p##*/} || exit 1; done
	install -D -m 644 $(B)/completion.bash $(DESTDIR)$(BASHDIR)/mpsup
	install -D -m 644 $(B)/completion.zsh $(DESTDIR)$(ZSHDIR)/_mpsup
	install -D -m 644 $(B)/completion.fish $(DESTDIR)$(FISHDIR)/mpsup.fish
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/mpsup $(DESTDIR)$(INCLUDEDIR)/mpsup.h $(DESTDIR)$(PKGCONFIGDIR)/mpsup.pc
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libmpsup.a libmpsup.so $(SONAME) libmpsup.so.$(VERSION))
	rm -f $(DESTDIR)$(BASHDIR)/mpsup $(DESTDIR)$(ZSHDIR)/_mpsup $(DESTDIR)$(FISHDIR)/mpsup.fish
	rm -f $(addprefix $(DESTDIR)$(LIBEXECDIR)/,mpsup-host libmpsup-preload.so $(SHIM))
	rm -f $(addprefix $(DESTDIR)$(DOCDIR)/,README.md CHANGES.md SECURITY.md LICENSE supervisor.ini.example)
	for d in $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(DOCDIR); do rmdir "$$d" 2>/dev/null || :; done
	for p in man/*.[1-9]; do s=$${p##*.}; rm -f $(DESTDIR)$(MANDIR)/man$$s/$${p##*/}; done
dist:
	git archive --prefix=mpsup-$(VERSION)/ -o mpsup-$(VERSION).tar.gz HEAD
clean:
	rm -rf build mpsup-*.tar.gz
help:
	$(Q)sed -n 's/^#? \{0,1\}//p' Makefile

#? make run        install what is missing, build, run supervisor.ini.example in the foreground; ^C ends it
#? make test       install what is missing, build, run all tests: those of unit, corpus and e2e
#? make            build: build/mpsup, build/mpsup-host, build/libmpsup.so, build/libmpsup.a
#? make install    into PREFIX=/usr/local, under DESTDIR=; also BINDIR LIBEXECDIR LIBDIR INCLUDEDIR PKGCONFIGDIR MANDIR DOCDIR BASHDIR ZSHDIR FISHDIR
#? make uninstall  remove what make install put there, given the same variables
#?
#? make unit       Criterion tests of the modules         make e2e     scripts that run the real program
#? make corpus     replay what the fuzzers have collected  make fuzz    search on, FUZZ_SECONDS=60 each
#? make stress     many threads and processes              make bench   figures, beside the machine's limit
#? make bench-report  the same as tables and charts: tests/bench/RESULTS.md
#? make bench-deps    install what bench and faults have ours beside: s6, runit, daemontools, supervisor, parallel, redis, gnuplot
#? make valgrind   takeovers and each verb under valgrind, for errors and leaks of memory and descriptors
#? make faults     every fault that breaks a supervisor, tried on mpsup and its peers: FAULTS_ARGS="--only NAME --peer mpsup --json"
#? make cover      what the tests reach                    make lint    format, floors, man pages, scripts, warnings
#? make fuzz-minimize  what make fuzz has found into tests/fuzz/corpus, without what reaches nothing new
#? make musl       floors base, proc, track, ipc and pool with musl-gcc, and their unit tests
#? make m32        the same for 32 bits (gcc-multilib)
#? make errors     each allocation, process, descriptor and write of each verb made to fail: SWEEP=1, SEED=7, ROWS="map lock", KINDS=memory
#? make analyze    clang --analyze, cppcheck, gcc -fanalyzer; scripts/analyze.known has what is no mistake
#? make deps       install what all of this needs          make format  indent all C files
#? make installed  the last commit's tarball is built, installed, looked at and uninstalled
#? make dist       a tarball of the last commit            make clean   remove what was built
#?
#? BENCH_ARGS="--quick"  for make bench: fewer rounds, or names of suites (BENCH_ARGS="queue lock"), --list, --json
#? ONLY="life tree"      only the tests with these names   JOBS=1       end-to-end scripts one by one (2)
#? SAN=address,undefined sanitizers, SAN=thread            CC=clang     another compiler
#? COV=1                 counters                          WERROR=1     warnings are errors
#? V=1                   show the commands                 OPT=-O0      optimisation (-O2 -g)
#? FORTIFY=3             _FORTIFY_SOURCE (2)
#? Each SAN, COV and CC builds in a tree of its own below build/; build/mpsup is that of gcc without any.

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
.SECONDARY:
