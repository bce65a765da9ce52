// The thread pool: every unit once, exceptions, loops inside loops and beside loops, and life after fork().
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "gradproof/thread_pool.hpp"

// The thread sanitizer does not support threads in a forked child.
#if defined(__unix__) || defined(__APPLE__)
#if !defined(__SANITIZE_THREAD__)
#define GRADPROOF_TEST_FORK
#include <sys/wait.h>
#include <unistd.h>
#endif
#endif

using gradproof::Index;
using gradproof::parallel_for;

namespace {

// Whether a loop over `count` units runs each of them exactly once, on workers that exist.
bool runs_all(Index count) {
  std::vector<int> runs(static_cast<std::size_t>(count));  // not atomic: each unit owns its element
  std::atomic<bool> right{true};
  const int workers = gradproof::thread_count();
  parallel_for(count, [&](Index unit, int worker) {
    if (unit < 0 || unit >= count || worker < 0 || worker >= workers) right = false;
    ++runs[static_cast<std::size_t>(unit)];
  });
  for (const int times : runs) right = right && times == 1;
  return right;
}

void test_every_unit_once() {
  for (const int threads : {1, 2, 5, 3, 1, 8}) {  // the pool grows, and has idle threads afterwards
    gradproof::set_thread_count(threads);
    CHECK(gradproof::thread_count() == threads);
    for (const Index count : {0, 1, 2, 7, 1000}) {
      for (int repeat = 0; repeat < 20; ++repeat) CHECK(runs_all(count));
    }
  }
  gradproof::set_thread_count(0);
  CHECK(gradproof::thread_count() == 1);
  gradproof::set_thread_count(4);
}

void test_exceptions() {
  for (const Index bad : {0, 17, 99}) {
    std::atomic<int> active{0};
    bool caught = false;
    try {
      parallel_for(100, [&](Index unit, int) {
        ++active;
        if (unit == bad) {
          --active;
          throw std::runtime_error("unit");
        }
        std::this_thread::yield();
        --active;
      });
    } catch (const std::runtime_error& error) {
      caught = std::string(error.what()) == "unit";
    }
    CHECK(caught);
    CHECK(active == 0);  // nobody works on when the exception arrives
    CHECK(runs_all(100));
  }
  int thrown = 0;
  try {
    parallel_for(50, [](Index, int) { throw std::logic_error("all"); });
  } catch (const std::logic_error&) {
    ++thrown;
  }
  CHECK(thrown == 1);
}

void test_nested() {
  std::vector<std::atomic<int>> runs(8 * 16);
  parallel_for(8, [&](Index outer, int) {
    parallel_for(16, [&](Index inner, int) { ++runs[static_cast<std::size_t>(outer * 16 + inner)]; });
  });
  for (const auto& times : runs) CHECK(times == 1);
  CHECK(runs_all(100));
}

void test_concurrent() {
  std::atomic<int> failed{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) failed += !runs_all(200);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(failed == 0);
}

void test_fork() {
#ifdef GRADPROOF_TEST_FORK
  CHECK(runs_all(100));  // the parent has workers
  for (int repeat = 0; repeat < 5; ++repeat) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);  // a hang is a failure, not a hang of the tests
      _exit(runs_all(1000) ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(runs_all(100));
  }

  // A fork in the middle of a loop: the child must not wait for workers that only its parent has.
  std::atomic<bool> forked{false};
  pid_t child = -1;
  std::thread forker([&] {
    child = fork();
    if (child == 0) {
      alarm(60);
      _exit(runs_all(1000) ? 0 : 1);
    }
    forked = true;
  });
  parallel_for(4, [&](Index, int) {
    while (!forked) std::this_thread::yield();
  });
  forker.join();
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}

}  // namespace

int main() {
  test_every_unit_once();
  test_exceptions();
  test_nested();
  test_concurrent();
  test_fork();
  return failures != 0;
}
