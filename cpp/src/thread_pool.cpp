#include "gradproof/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace gradproof {
namespace {

using Body = std::function<void(Index, int)>;

class Pool {
 public:
  void run(Index count, int threads, const Body& body) {
    if (threads <= 1 || count <= 1 || busy_.test_and_set()) {
      for (Index unit = 0; unit < count; ++unit) body(unit, 0);
      return;
    }
    const Release release{busy_};
    const int helpers = start(static_cast<int>(std::min<Index>(threads, count)) - 1);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      body_ = &body;
      count_ = count;
      next_.store(0);
      wanted_ = helpers;
      running_ = helpers;
      failure_ = nullptr;
      ++generation_;
    }
    wake_.notify_all();
    drain(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
    body_ = nullptr;
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  struct Release {
    std::atomic_flag& flag;
    ~Release() { flag.clear(); }
  };

  // Starts workers up to the number of helpers, and returns how many of them there are.
  int start(int helpers) {
    try {
      for (; started_ < helpers; ++started_) {
        std::thread([this, worker = started_ + 1] { work(worker); }).detach();
      }
    } catch (const std::system_error&) {  // no more threads to be had: do with those there are
    }
    return std::min(helpers, started_);
  }

  void work(int worker) {
    std::uint64_t seen = 0;
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      if (worker > wanted_) continue;
      lock.unlock();
      drain(worker);
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  void drain(int worker) {
    try {
      for (Index unit = next_.fetch_add(1); unit < count_; unit = next_.fetch_add(1)) (*body_)(unit, worker);
    } catch (...) {
      next_.store(count_);
      std::lock_guard<std::mutex> lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;  // set by the loop that owns the workers
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const Body* body_ = nullptr;
  Index count_ = 0;
  std::atomic<Index> next_{0};
  int started_ = 0, wanted_ = 0, running_ = 0;
  std::uint64_t generation_ = 0;
  std::exception_ptr failure_;
};

// Leaked on purpose: its threads are detached and may outlive static destruction. After fork() the child replaces it,
// because the parent's threads do not exist there and its mutexes may be held for ever.
std::atomic<Pool*> pool{nullptr};
std::atomic<int> threads{0};

Pool& instance() {
  static std::once_flag once;
  std::call_once(once, [] {
    pool.store(new Pool);
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { pool.store(new Pool); });
#endif
  });
  return *pool.load();
}

}  // namespace

int thread_count() {
  const int count = threads.load();
  return count > 0 ? count : std::max(1u, std::thread::hardware_concurrency());
}

void set_thread_count(int count) { threads.store(std::max(count, 1)); }

void parallel_for(Index count, const Body& body) { instance().run(count, thread_count(), body); }

}  // namespace gradproof
