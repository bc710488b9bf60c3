// Which memory a kernel may touch, and whether two of its threads touch it unordered.
//
// g++ -fsanitize=thread calls a hook at every load and store of a kernel; the hooks are ours
// (runtime.cpp), no sanitizer library is linked. Each access is looked up in the arrays that were
// passed (and shared memory), so that a stray index is caught at once in both directions, and
// compared with the last accesses to the same element:
//   - threads of one block are ordered by __syncthreads, lanes of one warp also by __syncwarp;
//   - threads of different blocks are never ordered within a launch;
//   - two unordered accesses, one of them a write, are a race unless both are atomic.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

struct Thread {
    unsigned block, thread, epoch, warp_epoch;  // linear numbers; epochs count barriers passed
};

struct Cell {
    Thread writer, reader;
    bool written, written_atomically, read, read_by_threads, read_by_blocks;
};

struct Range {
    const char *name;
    char *begin;
    size_t bytes, grain;
    bool constant, shared;
    Cell *cells;

    bool holds(const char *at) const { return at >= begin && at < begin + bytes; }
    void forget() {
        free(cells);
        cells = static_cast<Cell *>(calloc(bytes / grain + 1, sizeof(Cell)));
    }
};

// The message of the first fault; fail() never returns to the kernel.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *describe(const Thread &thread);

inline bool ordered(const Thread &earlier, const Thread &now) {
    if (earlier.block != now.block) return false;
    if (earlier.thread == now.thread || earlier.epoch != now.epoch) return true;
    return earlier.thread / 32 == now.thread / 32 && earlier.warp_epoch != now.warp_epoch;
}

class Memory {
  public:
    std::vector<Range> ranges;

    void clear() {
        for (Range &range : ranges) free(range.cells);
        ranges.clear();
    }
    void add(const char *name, void *begin, size_t bytes, size_t grain, bool constant,
             bool shared) {
        ranges.push_back({name, static_cast<char *>(begin), bytes, grain, constant, shared,
                          nullptr});
        ranges.back().forget();
    }
    void new_block() {
        for (Range &range : ranges) {
            if (!range.shared) continue;
            memset(range.begin, 0xff, range.bytes);
            range.forget();
        }
    }

    // Whether the access lies in one of the ranges; fails on a race or a write to a constant.
    bool access(char *at, size_t size, bool write, bool atomic, const Thread &now) {
        bool known = false, writable = false;
        Range *first = nullptr;
        for (Range &range : ranges) {
            if (!range.holds(at)) continue;
            if (at + size > range.begin + range.bytes) continue;
            if (!known) first = &range;
            known = true;
            writable = writable || !range.constant;
        }
        if (!known) return false;
        size_t index = (at - first->begin) / first->grain;
        size_t last = (at + size - 1 - first->begin) / first->grain;
        if (write && !writable)
            fail("%s writes element %zu of '%s', which the kernel declares const", describe(now),
                 index, first->name);
        for (; index <= last; ++index) {
            Cell &cell = first->cells[index];
            if (write)
                note_write(*first, cell, index, atomic, now);
            else
                note_read(*first, cell, index, now);
        }
        return true;
    }

    [[noreturn]] void stray(char *at, bool write, const Thread &now) {
        // Name the array whose edge is nearest: that is nearly always the one that was meant.
        const Range *nearest = nullptr;
        size_t distance = ~size_t(0);
        for (const Range &range : ranges) {
            char *end = range.begin + range.bytes;
            size_t away = at < range.begin ? range.begin - at : at >= end ? at - end : 0;
            if (away < distance) distance = away, nearest = &range;
        }
        const char *verb = write ? "writes" : "reads";
        if (!nearest) fail("%s %s address %p, and no array was passed", describe(now), verb, at);
        long long offset = at - nearest->begin, grain = nearest->grain;
        long long index = offset >= 0 ? offset / grain : -((-offset + grain - 1) / grain);
        fail("%s %s outside every array: element %lld of '%s', which has %zu", describe(now),
             verb, index, nearest->name, nearest->bytes / nearest->grain);
    }

  private:
    [[noreturn]] static void race(const Range &range, size_t index, const Thread &now,
                                  const char *verb, const Thread &other, const char *other_verb) {
        char first[96];
        snprintf(first, sizeof first, "%s", describe(other));
        fail("race on element %zu of '%s': %s %s it and %s %s it with no barrier in between",
             index, range.name, first, other_verb, describe(now), verb);
    }
    static void note_read(const Range &range, Cell &cell, size_t index, const Thread &now) {
        if (range.shared && !cell.written)
            fail("%s reads element %zu of '%s', which no thread of the block has written",
                 describe(now), index, range.name);
        if (cell.written && !ordered(cell.writer, now))
            race(range, index, now, "reads", cell.writer, "writes");
        if (cell.read && cell.reader.block != now.block) {
            cell.read_by_blocks = true;
        } else if (cell.read && !ordered(cell.reader, now)) {
            cell.read_by_threads = true;  // keep the first reader: any writer conflicts with one
            return;
        } else if (cell.read && cell.reader.epoch == now.epoch && cell.read_by_threads) {
            return;
        }
        cell.read = true;
        cell.read_by_threads = false;
        cell.reader = now;
    }
    static void note_write(const Range &range, Cell &cell, size_t index, bool atomic,
                           const Thread &now) {
        if (cell.written && !ordered(cell.writer, now) && !(atomic && cell.written_atomically))
            race(range, index, now, "writes", cell.writer, "writes");
        bool others = cell.read_by_threads && cell.reader.epoch == now.epoch;
        if (cell.read && (cell.read_by_blocks || others || !ordered(cell.reader, now)))
            race(range, index, now, "writes", cell.reader, "reads");
        cell.written = true;
        cell.written_atomically = atomic;
        cell.writer = now;
    }
};
