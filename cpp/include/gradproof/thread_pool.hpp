// A small pool of threads for loops whose units are independent.
//
// Units are handed out by one atomic counter, but each unit writes only its own results, so the outcome does not
// depend on the number of threads. The pool survives fork() (the child starts with no workers and makes its own), is
// started on first use, and a loop entered while the pool is busy (from another Python thread) runs on its caller.
#pragma once

#include <functional>

#include "types.hpp"

namespace gradproof {

// Below this many multiplications a loop is not worth waking threads for, which takes some 50 microseconds of a core that
// has gone to sleep: some 200 microseconds.
constexpr double parallel_threshold = 1.5e6;

// The number of threads that loops may use: the affinity mask's size until set; at least 1.
int thread_count();
void set_thread_count(int count);

// Calls body(unit, worker) for unit = 0 .. count-1, worker in [0, thread_count()). The first exception thrown by a
// body is rethrown to the caller after all workers have stopped.
void parallel_for(Index count, const std::function<void(Index unit, int worker)>& body);

}  // namespace gradproof
