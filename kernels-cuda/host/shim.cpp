// The scheduler behind shim.h.

#include "shim.h"

#include <ucontext.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#if defined(__SANITIZE_THREAD__)
#define SHIM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHIM_TSAN 1
#endif
#endif

#ifdef SHIM_TSAN
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
// a switch must not order the threads: only barriers do
static const unsigned NO_ORDER = 1;
#define SHIM_UNCHECKED __attribute__((no_sanitize("thread")))
#else
#define SHIM_UNCHECKED
#endif

// the section of all __shared__ variables of the library; absent where there is none
extern "C" {
extern unsigned char __start_shim_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_shim_shared[] __attribute__((weak, visibility("hidden")));
}

namespace shim {

namespace {

struct Current {
    Index thread, block, block_dim, grid_dim;
} current;

const std::size_t STACK_BYTES = 128 << 10;
const std::size_t SHARED_LIMIT = 48 << 10;

const Kernel* kernels = nullptr;

enum class State { ready, waiting, done };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    Index thread;
    State state;
    int line;
    void* tsan;
    unsigned barriers;
};

std::vector<Fiber> fibers;
Fiber* running = nullptr;
ucontext_t scheduler;
const Kernel* kernel_now = nullptr;
void* const* arguments_now = nullptr;
#ifdef SHIM_TSAN
// two marks for barriers in turn: a thread that leaves one must not be ordered after what others did on the way to the next
char barrier_marks[2], end_mark;
void* scheduler_tsan = nullptr;
#endif

/// Static shared memory of all kernels of the library: an upper bound on that of one.
std::size_t static_bytes() {
    return __start_shim_shared ? static_cast<std::size_t>(__stop_shim_shared - __start_shim_shared) : 0;
}
std::size_t dynamic_bytes = 0;
std::unique_ptr<unsigned char[]> dynamic;

SHIM_UNCHECKED void poison_shared() {
    // 0xff in every byte is NaN in every float
    for (unsigned char* p = __start_shim_shared; p != __stop_shim_shared; p++) *p = 0xff;
    for (std::size_t i = 0; i < dynamic_bytes; i++) dynamic[i] = 0xff;
}

SHIM_UNCHECKED void leave() {
#ifdef SHIM_TSAN
    __tsan_switch_to_fiber(scheduler_tsan, NO_ORDER);
#endif
    swapcontext(&running->context, &scheduler);
}

SHIM_UNCHECKED void enter(Fiber& fiber) {
    running = &fiber;
    current.thread = fiber.thread;
#ifdef SHIM_TSAN
    __tsan_switch_to_fiber(fiber.tsan, NO_ORDER);
#endif
    swapcontext(&scheduler, &fiber.context);
}

SHIM_UNCHECKED void thread_main() {
    kernel_now->call(arguments_now);
#ifdef SHIM_TSAN
    __tsan_release(&end_mark);
#endif
    running->state = State::done;
    leave();
}

void start(Fiber& fiber, Index thread) {
    if (!fiber.stack) fiber.stack.reset(new char[STACK_BYTES]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK_BYTES;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, thread_main, 0);
    fiber.thread = thread;
    fiber.state = State::ready;
    fiber.line = 0;
#ifdef SHIM_TSAN
    fiber.tsan = __tsan_create_fiber(0);
    fiber.barriers = 0;
#endif
}

std::string name_of(const Fiber& fiber) {
    const Index &b = current.block, &t = fiber.thread;
    char text[120];
    std::snprintf(text, sizeof text, "thread (%u,%u,%u) of block (%u,%u,%u)", t.x, t.y, t.z, b.x, b.y, b.z);
    return text;
}

/// Runs one block; threads in `order` between barriers. Empty, or what is wrong.
std::string run_block(const std::vector<unsigned>& order) {
    poison_shared();
    const Index dim = current.block_dim;
    for (unsigned i = 0; i < order.size(); i++) {
        start(fibers[i], {i % dim.x, i / dim.x % dim.y, i / (dim.x * dim.y)});
    }
    std::string problem;
    for (bool alive = true; alive && problem.empty();) {
        for (unsigned i : order) {
            if (fibers[i].state != State::done) enter(fibers[i]);
        }
        const Fiber *waiting = nullptr, *done = nullptr;
        for (unsigned i = 0; i < order.size() && problem.empty(); i++) {
            const Fiber& fiber = fibers[i];
            if (fiber.state == State::done) {
                done = &fiber;
            } else if (waiting && waiting->line != fiber.line) {
                problem = name_of(fiber) + " waits at line " + std::to_string(fiber.line) + ", " + name_of(*waiting) +
                          " at line " + std::to_string(waiting->line);
            } else {
                waiting = &fiber;
            }
        }
        if (problem.empty() && waiting && done) {
            problem = name_of(*waiting) + " waits at line " + std::to_string(waiting->line) + ", but " +
                      name_of(*done) + " has returned";
        }
        alive = waiting != nullptr;
    }
#ifdef SHIM_TSAN
    // shared variables stand at one address for all blocks, so where there are any, blocks must be ordered
    if (static_bytes() + dynamic_bytes) __tsan_acquire(&end_mark);
    for (unsigned i = 0; i < order.size(); i++) __tsan_destroy_fiber(fibers[i].tsan);
#endif
    return problem;
}

std::string check(const Kernel* kernel, const unsigned* grid, const unsigned* block, const std::size_t* sizes,
                  std::size_t count) {
    if (!kernel) return "no such kernel";
    if (count != kernel->count) {
        return "got " + std::to_string(count) + " arguments, the kernel has " + std::to_string(kernel->count);
    }
    for (std::size_t i = 0; i < count; i++) {
        if (sizes[i] != kernel->sizes[i]) {
            return "argument " + std::to_string(i) + " has " + std::to_string(sizes[i]) + " bytes, the kernel's has " +
                   std::to_string(kernel->sizes[i]);
        }
    }
    if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535) {
        return "the grid is beyond CUDA's limits";
    }
    const unsigned long long threads = 1ull * block[0] * block[1] * block[2];
    if (!threads || threads > 1024 || block[2] > 64) return "the block is beyond CUDA's limits";
    // every family has a library of its own in the tests, so this is at most a little too strict
    if (static_bytes() + dynamic_bytes > SHARED_LIMIT) return "more than 48 KiB of shared memory";
    return {};
}

std::vector<unsigned> order_of(unsigned threads, int order, std::uint64_t seed) {
    std::vector<unsigned> list(threads);
    for (unsigned i = 0; i < threads; i++) list[i] = order == 1 ? threads - 1 - i : i;
    if (order == 2) {
        std::mt19937_64 random(seed);
        for (unsigned i = threads; i > 1; i--) std::swap(list[i - 1], list[random() % i]);
    }
    return list;
}

}  // namespace

SHIM_UNCHECKED void* dynamic_shared() { return dynamic.get(); }
SHIM_UNCHECKED Index thread_index() { return current.thread; }
SHIM_UNCHECKED Index block_index() { return current.block; }
SHIM_UNCHECKED Index block_size() { return current.block_dim; }
SHIM_UNCHECKED Index grid_size() { return current.grid_dim; }

void add_kernel(Kernel* kernel) {
    kernel->next = kernels;
    kernels = kernel;
}

SHIM_UNCHECKED void barrier(int line) {
    Fiber* self = running;
    self->line = line;
    self->state = State::waiting;
#ifdef SHIM_TSAN
    char* const mark = &barrier_marks[self->barriers++ % 2];
    __tsan_release(mark);
#endif
    leave();
#ifdef SHIM_TSAN
    __tsan_acquire(mark);
#endif
    self->state = State::ready;
}

}  // namespace shim

/// Runs a kernel: `arguments[i]` points to argument i, which has `sizes[i]` bytes. `order` of the threads of a block
/// between barriers: 0 forward, 1 backward, 2 shuffled by `seed`. 0, or 1 with what is wrong in `message`.
extern "C" int shim_launch(const char* name, const unsigned* grid, const unsigned* block, std::size_t shared_bytes,
                           void* const* arguments, const std::size_t* sizes, std::size_t count, int order,
                           unsigned long long seed, char* message, std::size_t message_bytes) {
    using namespace shim;
    dynamic_bytes = shared_bytes;
    const Kernel* kernel = kernels;
    while (kernel && std::strcmp(kernel->name, name) != 0) kernel = kernel->next;
    std::string problem = check(kernel, grid, block, sizes, count);
    if (problem.empty()) {
        // of exactly the size asked for, so that AddressSanitizer sees an access beyond it
        dynamic.reset(shared_bytes ? new unsigned char[shared_bytes] : nullptr);
        kernel_now = kernel;
        arguments_now = arguments;
        current.grid_dim = {grid[0], grid[1], grid[2]};
        current.block_dim = {block[0], block[1], block[2]};
        const unsigned threads = block[0] * block[1] * block[2];
        if (fibers.size() < threads) fibers.resize(threads);
#ifdef SHIM_TSAN
        scheduler_tsan = __tsan_get_current_fiber();
#endif
        for (unsigned z = 0; z < grid[2] && problem.empty(); z++) {
            for (unsigned y = 0; y < grid[1] && problem.empty(); y++) {
                for (unsigned x = 0; x < grid[0] && problem.empty(); x++) {
                    current.block = {x, y, z};
                    problem = run_block(order_of(threads, order, seed + x + 977 * y));
                }
            }
        }
#ifdef SHIM_TSAN
        __tsan_acquire(&end_mark);
#endif
    }
    std::snprintf(message, message_bytes, "%s: %s", name, problem.c_str());
    return problem.empty() ? 0 : 1;
}
