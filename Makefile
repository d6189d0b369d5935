# AtomDL. POSIX make; works with gcc, clang and others: make CC=clang
# Targets: test check san matrix bits clean; `make help` says what each does.
.POSIX:
.SUFFIXES:

CC     = cc
CFLAGS = -O3
# Bits are not optional: these flags are always there.
FLOAT  = -std=c99 -ffp-contract=off
WARN   = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wdouble-promotion
BUILD  = build

LIBRARY = atomdl.c sim.c graph.c movie.c
OBJECTS = $(BUILD)/atomdl.o $(BUILD)/sim.o $(BUILD)/graph.o $(BUILD)/movie.o
TESTS   = tests/test.c tests/test_memory.c tests/test_math.c \
          tests/test_random.c tests/test_image.c tests/test_arch.c \
          tests/test_weights.c tests/exhaust.c tests/reference.c \
          tests/slow.c tests/slow64.c \
          tests/test_net.c tests/test_grad.c tests/test_train.c \
          tests/test_kernels.c tests/test_torch.c tests/test_io.c \
          tests/test_structure.c tests/test_imaging.c tests/test_recipe.c \
          tests/test_blobs.c tests/test_graph.c tests/test_find.c \
          tests/test_intensity.c tests/test_movie.c
# long double is the tests' reference and frexpl takes doubles: no promotion
# warnings there
TWARN   = -Wall -Wextra -Wpedantic -Wshadow -Wconversion

# The program. OPENMP is left out where the compiler does not take it.
OPENMP  = -fopenmp
CARRY   = -DATOMDL_WEIGHTS -I$(BUILD)
PARTS   = main.c $(wildcard program/*.c program/*/*.c)
HEADERS = atomdl.h $(wildcard program/*.h program/*/*.h)
PROGRAM = $(PARTS) $(LIBRARY)
FILES   = $(patsubst %.c,$(BUILD)/%.o,$(wildcard program/files/*.c))

NETWORKS = graphene lattice vacancy dopant dichalcogenide mos2-vacancy \
           mos2-polymorph mos2-carbon heavy-chalcogenide

.PHONY: all demo weights retrain test threads nets check san matrix bits \
        bench bench_graph bench_nets bench_sim clean help sources parts firmware \
        web fuzz stranger faults golden unit mutants channel

all: atomdl

help:
	@echo "make          build the program, ./atomdl"
	@echo "make demo     simulates an image, finds its atoms, compares"
	@echo "make test     unit tests and golden digests (under a minute)"
	@echo "make threads  the digests with 1 to 4 threads (OpenMP)"
	@echo "make golden   SHA-256 of every file that the program writes (4 min)"
	@echo "make check    golden, threads, kill -9, every argument of exp log..."
	@echo "make san      the tests under ASan, UBSan and MSan"
	@echo "make matrix   the digests on every platform (tests/setup.sh first)"
	@echo "make firmware atoms found by emulated microcontrollers, sizes"
	@echo "make fuzz     the readers under libFuzzer (a minute)"
	@echo "make faults   memory, disks, pipes, kill -9, threads fail (2 min)"
	@echo "make stranger two files copied into another project, 26 builds"
	@echo "make web      build/web/atomdl.html: the program in a page"
	@echo "make mutants  are the tests good? small defects, who notices (hours)"
	@echo "make channel  the table of METHOD B.10 by multislice (10 min)"
	@echo "make weights  train every network of weights/ anew (hours)"
	@echo "make bits     print this machine's digests"
	@echo "make bench    speed beside the C library and NumPy"

atomdl: $(PARTS:%.c=$(BUILD)/%.o) $(OBJECTS)
	$(CC) $(CFLAGS) $(PARTS:%.c=$(BUILD)/%.o) $(OBJECTS) \
	    `cat $(BUILD)/openmp` -o $@ -lm

$(PARTS:%.c=$(BUILD)/%.o): $(BUILD)/%.o: %.c $(HEADERS) Makefile \
        $(BUILD)/weights.inc $(BUILD)/openmp $(BUILD)/stb
	@mkdir -p $(@D)
	$(CC) $(FLOAT) $(WARN) $(CFLAGS) $(CARRY) `cat $(BUILD)/openmp` -c $< -o $@

# What makes threads of OpenMP's pragmas here; nothing where the compiler has
# none.
$(BUILD)/openmp: Makefile
	@mkdir -p $(BUILD)
	@printf '#include <omp.h>\nint main(void)\n{return 0;}\n' > $(BUILD)/omp.c
	@if $(CC) $(OPENMP) $(BUILD)/omp.c -o $(BUILD)/omp >/dev/null 2>&1; \
	then echo '$(OPENMP)'; fi > $@

# The networks of weights/ as arrays, so that the program carries them.
$(BUILD)/weights.inc: weights/embed.c weights/SHA256SUMS
	@mkdir -p $(BUILD)
	$(CC) $(CFLAGS) weights/embed.c -o $(BUILD)/embed
	$(BUILD)/embed $(wildcard $(NETWORKS:%=weights/%.safetensors)) > $@.part
	mv $@.part $@

# stb's two headers lie beside main.c or where libstb-dev puts them.
$(BUILD)/stb:
	@mkdir -p $(BUILD)
	@for h in stb_image.h stb_image_write.h; do \
	    test -f $$h || echo "#include <stb/$$h>" | \
	        $(CC) -E -x c - >/dev/null 2>&1 || { \
	        echo "atomdl: $$h is missing: install libstb-dev" \
	            "(apt-get install libstb-dev) or lay it beside main.c" >&2; \
	        exit 1; }; \
	done
	@touch $@

# An image with defects, what the shipped network finds, and the truth.
demo: atomdl
	@mkdir -p demo
	./atomdl simulate --material graphene --size 256 --pixel-size 0.12 \
	    --defects si-c3,si-c4,si3-c6,si2-c6,stone-wales --seed 3 \
	    -o demo/graphene
	./atomdl analyze demo/graphene.png --pixel-size 0.12 -o demo/found
	./atomdl evaluate demo/found/graphene.atoms.csv demo/graphene.truth.csv
	@echo "Now open demo/found/report.html in a browser," \
	    "or look at demo/found/graphene.overlay.png"

# Trains all networks: the same bytes on every machine.
weights: atomdl
	for n in $(NETWORKS); do \
	    ./atomdl info weights/$$n.safetensors | \
	        grep "^numerics.*older" && echo "kept $$n as it is" && continue; \
	    ./atomdl train weights/$$n.recipe -o weights/$$n.safetensors || \
	        exit 1; \
	done
	cd weights && sha256sum -c SHA256SUMS

# The smallest one by the plain C kernels, as a test of that claim (a minute or
# two).
retrain: atomdl
	cd weights && sha256sum -c SHA256SUMS
	ATOMDL_ISA=plain ./atomdl train weights/dopant.recipe \
	    -o $(BUILD)/dopant.safetensors
	cmp $(BUILD)/dopant.safetensors weights/dopant.safetensors
	@echo "ok   trained anew: the bytes of weights/dopant.safetensors"

# The networks of `atomdl bench` are those of tests/nets.
nets: atomdl
	for n in fcn unet resunet3 resunet7; do \
	    ./atomdl bench --net $$n | cmp - tests/nets/$$n.net || exit 1; \
	done

$(BUILD)/atomdl.o: atomdl.c atomdl.h $(BUILD)/openmp
	$(CC) $(FLOAT) $(WARN) $(CFLAGS) `cat $(BUILD)/openmp` -c atomdl.c -o $@

$(BUILD)/sim.o: sim.c atomdl.h $(BUILD)/openmp
	$(CC) $(FLOAT) $(WARN) $(CFLAGS) `cat $(BUILD)/openmp` -c sim.c -o $@

$(BUILD)/graph.o: graph.c atomdl.h $(BUILD)/openmp
	$(CC) $(FLOAT) $(WARN) $(CFLAGS) `cat $(BUILD)/openmp` -c graph.c -o $@

$(BUILD)/movie.o: movie.c atomdl.h $(BUILD)/openmp
	$(CC) $(FLOAT) $(WARN) $(CFLAGS) `cat $(BUILD)/openmp` -c movie.c -o $@

$(BUILD)/test: $(TESTS) tests/test.h tests/exhaust.h tests/reference.h \
        examples/lesson.c tests/vectors_blobs.h $(FILES) $(OBJECTS)
	$(CC) -std=gnu99 -ffp-contract=off $(TWARN) -O1 $(TESTS) $(FILES) \
	    $(OBJECTS) `cat $(BUILD)/openmp` -o $@ -lm

$(BUILD)/bits: tests/bits.c program/chain.c program/chain.h $(OBJECTS)
	$(CC) $(FLOAT) $(TWARN) $(CFLAGS) tests/bits.c program/chain.c $(OBJECTS) \
	    `cat $(BUILD)/openmp` -o $@ -lm

$(BUILD)/exhaust: tests/exhaust.c tests/exhaust.h $(BUILD)/atomdl.o
	$(CC) -std=gnu99 -ffp-contract=off $(TWARN) -O2 -fopenmp -DEXHAUST_MAIN \
	    tests/exhaust.c $(BUILD)/atomdl.o -o $@ -lm

# The lesson for students, as its first comment has it built.
$(BUILD)/lesson: examples/lesson.c atomdl.c atomdl.h
	@mkdir -p $(BUILD)
	$(CC) $(WARN) -O2 examples/lesson.c atomdl.c -o $@ -lm

# The digests count as one more test: `diff` fails the target.
test: $(BUILD)/test $(BUILD)/bits $(BUILD)/lesson nets unit
	sh tests/links.sh
	OMP_NUM_THREADS=1 $(BUILD)/bits | diff - tests/bits.txt
	@echo "ok   every digest of tests/bits.txt"
	$(BUILD)/lesson
	sh tests/simulate.sh ./atomdl
	OMP_WAIT_POLICY=passive $(BUILD)/test
	sh tests/test_cli.sh ./atomdl
	sh tests/train.sh ./atomdl
	sh tests/movie.sh ./atomdl

# The table of METHOD B.10 anew, row by row
channel: tests/channel.c atomdl.h atomdl.c sim.c
	@mkdir -p $(BUILD)
	$(CC) $(FLOAT) $(CFLAGS) tests/channel.c -o $(BUILD)/channel -lm
	$(BUILD)/channel

# The library as one translation unit: the same digests
unit: $(BUILD)/unit
	OMP_NUM_THREADS=1 $(BUILD)/unit | diff - tests/bits.txt
	@echo "ok   every digest of the library as one translation unit"

$(BUILD)/unit: tests/unit.c tests/bits.c program/chain.c program/chain.h \
        $(LIBRARY) atomdl.h $(BUILD)/openmp
	$(CC) $(FLOAT) -Wall -Wextra -O1 tests/unit.c tests/bits.c \
	    program/chain.c `cat $(BUILD)/openmp` -o $@ -lm

bits: $(BUILD)/bits
	$(BUILD)/bits

# Every digest by each instruction set that this machine has, with 1 to 4
# threads; the trace proves that each kernel ran by it.
threads: $(BUILD)/bits_threads
	@for isa in plain sse2 avx2 avx512 neon simd128; do \
	    for n in 1 2 3 4; do \
	        s=0; \
	        OMP_WAIT_POLICY=passive OMP_NUM_THREADS=$$n ATOMDL_ISA=$$isa \
	            $(BUILD)/bits_threads >$(BUILD)/digests || s=$$?; \
	        test $$s -ne 4 || continue 2; \
	        test $$s -eq 0 || exit 1; \
	        diff $(BUILD)/digests tests/bits.txt || exit 1; \
	    done; \
	    echo "ok   every digest by $$isa with 1, 2, 3, 4 threads"; \
	done

$(BUILD)/bits_threads: tests/bits.c program/chain.c program/chain.h $(LIBRARY) atomdl.h
	@mkdir -p $(BUILD)
	$(CC) $(FLOAT) -O2 $(OPENMP) -DATOMDL_TRACE tests/bits.c program/chain.c \
	    $(LIBRARY) -o $@ -lm

# A training killed at random moments and resumed.
$(BUILD)/resume: tests/resume.c $(FILES) $(BUILD)/atomdl.o
	$(CC) $(FLOAT) $(TWARN) $(CFLAGS) tests/resume.c $(FILES) \
	    $(BUILD)/atomdl.o `cat $(BUILD)/openmp` -o $@ -lm

# What every command writes, against tests/golden.txt; anew:
# sh tests/golden.sh --renew ./atomdl
golden: atomdl
	sh tests/golden.sh ./atomdl

check: $(BUILD)/exhaust $(BUILD)/resume threads retrain golden
	OMP_NUM_THREADS=1 $(BUILD)/resume
	sh tests/promise.sh
	$(BUILD)/exhaust

# Ten small defects in each file; some only: sh tests/mutants.sh FILE...
mutants:
	sh tests/mutants.sh

# what the unit tests are built of, beside the library
sources:
	@echo $(TESTS) $(wildcard program/files/*.c)

# ... and the whole program
parts:
	@echo $(PROGRAM)

san:
	sh tests/san.sh

matrix:
	sh tests/matrix.sh

# The program in one page: clang, lld, wasi-libc and nothing else.
WASM = clang --target=wasm32-wasi -O2 -std=gnu99 -ffp-contract=off -msimd128 \
       -D_WASI_EMULATED_SIGNAL -D_WASI_EMULATED_PROCESS_CLOCKS -w \
       -Wl,-z,stack-size=1048576 -Wl,--strip-all

web: $(BUILD)/web/atomdl.html

$(BUILD)/web/atomdl.wasm: $(PROGRAM) $(HEADERS) $(BUILD)/weights.inc
	@mkdir -p $(BUILD)/web
	$(WASM) $(CARRY) $(PROGRAM) -o $@ -lm -lwasi-emulated-signal \
	    -lwasi-emulated-process-clocks

$(BUILD)/web/atomdl.html: tests/web/page.html tests/web/page.js \
        tests/web/worker.js $(BUILD)/web/atomdl.wasm
	{ cat tests/web/page.html; \
	  echo '<script type="text/plain" id="worker">'; \
	  cat tests/web/worker.js; \
	  echo '</script><script type="text/plain" id="module">'; \
	  base64 $(BUILD)/web/atomdl.wasm; \
	  echo '</script><script>'; cat tests/web/page.js; \
	  echo '</script></html>'; } > $@.part
	mv $@.part $@

# Every reader and parser under libFuzzer; SECONDS of each: make fuzz SECONDS=9
SECONDS = 3
fuzz:
	sh tests/fuzz.sh $(SECONDS)

# No memory, no room, no reader, kill -9, races
faults: atomdl
	sh tests/faults.sh

# Someone else's project, with two files of ours
stranger:
	sh tests/stranger.sh

# Emulated microcontrollers: their atoms beside the desktop's, what it costs
firmware: atomdl
	sh tests/mcu/firmware.sh

clean:
	rm -rf $(BUILD) demo atomdl

# ns a value beside the C library and NumPy (python3-numpy); seconds beside
# scikit-learn and SciPy (python3-sklearn)
bench: $(BUILD)/bench_math $(BUILD)/bench_movie
	python3 tests/bench_math.py $(BUILD)/bench_math
	python3 tests/bench_movie.py $(BUILD)/bench_movie

$(BUILD)/bench_math: tests/bench_math.c $(BUILD)/atomdl.o $(BUILD)/sim.o
	$(CC) $(FLOAT) -O2 tests/bench_math.c $(BUILD)/atomdl.o $(BUILD)/sim.o \
	    `cat $(BUILD)/openmp` -o $@ -lm

# Simulated images, ms each
bench_sim: $(BUILD)/bench_sim
	$(BUILD)/bench_sim

$(BUILD)/bench_sim: tests/bench_sim.c $(FILES) $(OBJECTS)
	$(CC) $(FLOAT) $(TWARN) -O2 tests/bench_sim.c $(FILES) $(OBJECTS) \
	    `cat $(BUILD)/openmp` -o $@ -lm

# Blobs and graphs beside scikit-image, SciPy and NetworkX (Debian packages)
$(BUILD)/libatomdl.so: $(LIBRARY) atomdl.h
	@mkdir -p $(BUILD)
	$(CC) $(FLOAT) $(CFLAGS) -fPIC -shared $(LIBRARY) -o $@ -lm

# The shipped networks beside PyTorch (python3-torch) and ONNX Runtime
bench_nets: atomdl
	python3 tests/bench_nets.py

bench_graph: $(BUILD)/libatomdl.so
	python3 tests/bench_graph.py $(BUILD)/libatomdl.so

$(BUILD)/bench_movie: tests/bench_movie.c $(OBJECTS)
	$(CC) $(FLOAT) -O2 tests/bench_movie.c $(OBJECTS) \
	    `cat $(BUILD)/openmp` -o $@ -lm
