// Runs a grid on the CPU: blocks one after another, the threads of a block as fibers.
//
// A kernel with no barrier and no warp exchange runs its threads in a plain loop. Otherwise every
// thread is a fiber that runs until it waits; when all wait, the waits are resolved together: warp
// exchanges first, then a barrier that every thread of the block has reached. Whatever is left is
// a divergence or a deadlock, and is reported with the lines at which the threads wait.
#include <csetjmp>
#include <cstdarg>
#include <string>

#include <link.h>
#include <sys/mman.h>
#include <ucontext.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include "memory_check.h"

namespace {

struct Dim3 {
    unsigned x, y, z;
};
enum Warp { warp_exchange, warp_ballot, warp_sync };
enum State { running, at_barrier, at_warp, finished };

struct Argument {  // mirrored in launcher.py
    const char *name;
    void *data;
    size_t bytes, grain;
    int pointer, constant;
};
struct Launch {
    void (*call)(void **);
    const char *kernel;
    Dim3 grid, block;
    int arguments;
    Argument *argument;
    void *shared_begin, *shared_end;
    size_t dynamic_shared;
    int fibers, reverse, flush_denormals;
};

struct Fiber {
    ucontext_t context;
    State state;
    int line, kind, source;
    unsigned mask;
    unsigned long long value, result;
};

constexpr size_t stack_bytes = 64 * 1024;
constexpr unsigned max_threads = 1024;

Launch *launch;
Memory memory;
std::vector<void *> arguments;
std::vector<char> dynamic_shared;
Fiber fibers[max_threads];
Fiber *current;
char *stacks;
ucontext_t scheduler;
jmp_buf abandon;
std::string message;
Thread now;
unsigned warp_epochs[max_threads / 32];
char *image_begin, *image_end, *stack_low, *stack_high;

int find_image(dl_phdr_info *info, size_t, void *inside) {
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        char *begin = reinterpret_cast<char *>(info->dlpi_addr) + info->dlpi_phdr[i].p_vaddr;
        char *end = begin + info->dlpi_phdr[i].p_memsz;
        if (inside < begin || inside >= end) continue;
        image_begin = reinterpret_cast<char *>(info->dlpi_addr), image_end = nullptr;
        for (int j = 0; j < info->dlpi_phnum; ++j) {
            char *top = image_begin + info->dlpi_phdr[j].p_vaddr + info->dlpi_phdr[j].p_memsz;
            if (info->dlpi_phdr[j].p_type == PT_LOAD && top > image_end) image_end = top;
        }
        return 1;
    }
    return 0;
}

}  // namespace

extern "C" Dim3 shim_thread_index, shim_block_index, shim_block_dim, shim_grid_dim;
Dim3 shim_thread_index, shim_block_index, shim_block_dim, shim_grid_dim;

void fail(const char *format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    message = text;
    _longjmp(abandon, 1);  // the fibers are abandoned where they stand: a kernel owns nothing
}

const char *describe(const Thread &thread) {
    static char text[2][96];
    static int turn = 0;
    char *out = text[turn ^= 1];
    const Dim3 &b = launch->block, &g = launch->grid;
    unsigned t = thread.thread, k = thread.block;
    snprintf(out, sizeof text[0], "thread (%u,%u,%u) of block (%u,%u,%u)", t % b.x,
             t / b.x % b.y, t / b.x / b.y, k % g.x, k / g.x % g.y, k / g.x / g.y);
    return out;
}

// Memory hooks -------------------------------------------------------------------------------
namespace {
void touch(void *address, size_t size, bool write, bool atomic = false) {
    char *at = static_cast<char *>(address);
    now.warp_epoch = warp_epochs[now.thread / 32];
    if (memory.access(at, size, write, atomic, now)) return;
    if (at >= stack_low && at < stack_high) return;
    if (at >= image_begin && at < image_end) return;  // constants of the source
    memory.stray(at, write, now);
}
}  // namespace

extern "C" {
void shim_atomic(void *address, int size) { touch(address, size, true, true); }
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
#define HOOKS(size)                                                             \
    void __tsan_read##size(void *at) { touch(at, size, false); }                \
    void __tsan_write##size(void *at) { touch(at, size, true); }                \
    void __tsan_unaligned_read##size(void *at) { touch(at, size, false); }      \
    void __tsan_unaligned_write##size(void *at) { touch(at, size, true); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
void __tsan_read_range(void *at, size_t size) { touch(at, size, false); }
void __tsan_write_range(void *at, size_t size) { touch(at, size, true); }

// g++ -fsanitize=bounds: an index outside an array of fixed size (static shared memory, locals).
struct BoundsFault {
    const char *file;
    unsigned line, column;
};
void __ubsan_handle_out_of_bounds(BoundsFault *fault, unsigned long index) {
    fail("%s uses index %ld outside a fixed-size array, line %u of the source", describe(now),
         static_cast<long>(index), fault->line);
}

// Threads ------------------------------------------------------------------------------------
int shim_lane() { return now.thread & 31; }
void *shim_dynamic_shared() { return dynamic_shared.data(); }
}

namespace {
void place(unsigned thread) {
    const Dim3 &b = launch->block;
    now.thread = thread;
    shim_thread_index = {thread % b.x, thread / b.x % b.y, thread / b.x / b.y};
}
void wait(State state, int line) {
    if (!launch->fibers) fail("a barrier in a kernel that was launched without fibers");
    current->state = state;
    current->line = line;
    swapcontext(&current->context, &scheduler);
}
void fiber_main() {
    launch->call(arguments.data());
    current->state = finished;
}

// Completes the warp operation that `lanes` wait for, if every live lane of its mask is there.
bool resolve_warp(Fiber *lanes, unsigned count, unsigned warp) {
    bool progress = false;
    for (unsigned lane = 0; lane < count; ++lane) {
        Fiber &caller = lanes[lane];
        if (caller.state != at_warp) continue;
        if (!(caller.mask >> lane & 1))
            fail("lane %u of warp %u calls a warp operation at line %d whose mask %08x leaves it "
                 "out", lane, warp, caller.line, caller.mask);
        bool complete = true;
        unsigned long long votes = 0;
        for (unsigned other = 0; other < count; ++other) {
            const Fiber &fiber = lanes[other];
            if (!(caller.mask >> other & 1) || fiber.state == finished) continue;
            bool same = fiber.state == at_warp && fiber.line == caller.line &&
                        fiber.mask == caller.mask && fiber.kind == caller.kind;
            complete = complete && same;
            if (same && fiber.value) votes |= 1ull << other;
        }
        if (!complete) continue;
        unsigned mask = caller.mask;
        if (caller.kind == warp_sync) ++warp_epochs[warp];
        for (unsigned other = 0; other < count; ++other) {
            Fiber &fiber = lanes[other];
            if (!(mask >> other & 1) || fiber.state == finished) continue;
            unsigned from = fiber.source & 31;
            // A lane that takes no part has no value to give: poison (NaN), as nothing is defined.
            bool given = from < count && (mask >> from & 1) && lanes[from].state != finished;
            fiber.result = fiber.kind == warp_ballot ? votes : given ? lanes[from].value : ~0ull;
        }
        for (unsigned other = 0; other < count; ++other)
            if ((mask >> other & 1) && lanes[other].state == at_warp)
                lanes[other].state = running;
        progress = true;
    }
    return progress;
}

[[noreturn]] void report_waiting(unsigned count) {
    std::string text = "threads wait for each other forever: ";
    const char *names[] = {"running", "barrier", "warp operation", "finished"};
    int listed = 0;
    for (unsigned i = 0; i < count;) {
        unsigned end = i;
        while (end < count && fibers[end].state == fibers[i].state &&
               (fibers[i].state == finished || fibers[end].line == fibers[i].line))
            ++end;
        char part[96];
        if (fibers[i].state == finished)
            snprintf(part, sizeof part, "threads %u to %u have returned; ", i, end - 1);
        else
            snprintf(part, sizeof part, "threads %u to %u are at the %s of line %d; ", i, end - 1,
                     names[fibers[i].state], fibers[i].line);
        if (listed++ < 4) text += part;
        i = end;
    }
    fail("%s(linear thread numbers, block %u)", text.c_str(), now.block);
}

void run_fibers(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        getcontext(&fibers[i].context);
        fibers[i].context.uc_stack.ss_sp = stacks + i * stack_bytes;
        fibers[i].context.uc_stack.ss_size = stack_bytes;
        fibers[i].context.uc_link = &scheduler;
        fibers[i].state = running;
        makecontext(&fibers[i].context, fiber_main, 0);
    }
    while (true) {
        for (unsigned turn = 0; turn < count; ++turn) {
            unsigned i = launch->reverse ? count - 1 - turn : turn;
            if (fibers[i].state != running) continue;
            current = &fibers[i];
            stack_low = stacks + i * stack_bytes, stack_high = stack_low + stack_bytes;
            place(i);
            swapcontext(&scheduler, &fibers[i].context);
        }
        bool progress = false;
        for (unsigned warp = 0; warp * 32 < count; ++warp)
            progress |= resolve_warp(fibers + warp * 32, count - warp * 32 < 32 ? count - warp * 32 : 32,
                                     warp);
        if (progress) continue;
        unsigned done = 0, waiting = 0;
        for (unsigned i = 0; i < count; ++i) {
            done += fibers[i].state == finished;
            waiting += fibers[i].state == at_barrier && fibers[i].line == fibers[0].line;
        }
        if (done == count) return;
        // A barrier that some threads never reach is undefined, even where hardware forgives it.
        if (waiting != count) report_waiting(count);
        for (unsigned i = 0; i < count; ++i) fibers[i].state = running;
        ++now.epoch;
    }
}
}  // namespace

extern "C" {
void shim_barrier(int line) { wait(at_barrier, line); }

unsigned long long shim_warp(int kind, unsigned mask, unsigned long long value, int source_lane,
                             int line) {
    current->kind = kind, current->mask = mask, current->value = value;
    current->source = source_lane;
    wait(at_warp, line);
    return current->result;
}

// Returns null, or the first fault's message (valid until the next launch).
const char *shim_launch(Launch *given) {
    launch = given;
    memory.clear();
    arguments.clear();
    for (int i = 0; i < given->arguments; ++i) {
        Argument &a = given->argument[i];
        arguments.push_back(a.pointer ? static_cast<void *>(&a.data) : a.data);
        if (a.pointer) memory.add(a.name, a.data, a.bytes, a.grain, a.constant, false);
    }
    size_t statics = static_cast<char *>(given->shared_end) -
                     static_cast<char *>(given->shared_begin);
    if (statics) memory.add("__shared__ memory", given->shared_begin, statics, 1, false, true);
    dynamic_shared.assign(given->dynamic_shared, '\xff');
    if (given->dynamic_shared)
        memory.add("dynamic shared memory (bytes)", shim_dynamic_shared(), given->dynamic_shared,
                   1, false, true);
    dl_iterate_phdr(find_image, reinterpret_cast<void *>(given->call));
    if (given->fibers && !stacks)
        stacks = static_cast<char *>(mmap(nullptr, stack_bytes * max_threads,
                                          PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    const Dim3 &grid = given->grid, &block = given->block;
    unsigned blocks = grid.x * grid.y * grid.z, count = block.x * block.y * block.z;
    shim_block_dim = block, shim_grid_dim = grid;
#ifdef __SSE__
    unsigned control = _mm_getcsr();  // CuPy always passes -ftz=true
    if (given->flush_denormals) _mm_setcsr(control | 0x8040);
#endif
    message.clear();
    if (!_setjmp(abandon)) {
        for (unsigned turn = 0; turn < blocks; ++turn) {
            unsigned k = given->reverse ? blocks - 1 - turn : turn;
            now = {k, 0, 0, 0};
            memset(warp_epochs, 0, sizeof warp_epochs);
            shim_block_index = {k % grid.x, k / grid.x % grid.y, k / grid.x / grid.y};
            memory.new_block();
            if (given->fibers) {
                run_fibers(count);
                continue;
            }
            // The kernel's frames lie just below this one.
            stack_high = static_cast<char *>(__builtin_frame_address(0));
            stack_low = stack_high - stack_bytes;
            for (unsigned i = 0; i < count; ++i) {
                place(given->reverse ? count - 1 - i : i);
                given->call(arguments.data());
            }
        }
    }
#ifdef __SSE__
    _mm_setcsr(control);
#endif
    memory.clear();
    return message.empty() ? nullptr : message.c_str();
}
}
