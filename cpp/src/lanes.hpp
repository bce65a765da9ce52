// Changes of many parameters side by side: a panel (features, lanes), one lane for each pair of a parameter and a row of the
// batch that it changes. Every loop runs along the lanes, however narrow the network is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gradproof/types.hpp"

namespace gradproof {

// Neighbouring lanes that belong to one row of the batch.
struct RowLanes {
  Index sample, begin, end;

  Index count() const { return end - begin; }
};

// An array that holds one number everywhere.
template <class T>
struct Same {
  T value;
  T operator[](Index) const { return value; }
};

// What the lanes of a panel stand for.
class Lanes {
 public:
  // Of each lane its parameter, and of each parameter whether it met a kink.
  void assign(const Index* parameters, std::uint8_t* kinks) {
    parameters_ = parameters;
    kinks_ = kinks;
    runs_.clear();
    count_ = 0;
  }
  void append(Index sample, Index count) {
    if (count == 0) return;
    runs_.push_back({sample, count_, count_ + count});
    count_ += count;
  }

  Index count() const { return count_; }
  const std::vector<RowLanes>& runs() const { return runs_; }
  Index parameter(Index lane) const { return parameters_[lane]; }
  void mark(Index lane) const { kinks_[parameters_[lane]] = 1; }

  // Column c of a matrix (m, width) that belongs to the base point: for each lane, the number in its row.
  template <class T>
  void spread(T* to, const T* matrix, Index width, Index c) const {
    for (const RowLanes& run : runs_) std::fill(to + run.begin, to + run.end, matrix[run.sample * width + c]);
  }

  // Calls body(begin, count, base) for all lanes, in a few stretches. base(matrix, width, c, buffer) is as an array what
  // spread() gives for the stretch: a single number if it lies in one row of the batch, else it is written to the buffer.
  template <class T, class Body>
  void stretches(const Body& body) const {
    constexpr Index worth_a_loop = 16;
    if (count_ >= worth_a_loop * static_cast<Index>(runs_.size())) {
      for (const RowLanes& run : runs_) {
        body(run.begin, run.count(), [&run](const T* matrix, Index width, Index c, T*) {
          return Same<T>{matrix[run.sample * width + c]};
        });
      }
    } else {
      body(Index(0), count_, [this](const T* matrix, Index width, Index c, T* buffer) -> const T* {
        spread(buffer, matrix, width, c);
        return buffer;
      });
    }
  }

 private:
  std::vector<RowLanes> runs_;
  Index count_ = 0;
  const Index* parameters_ = nullptr;
  std::uint8_t* kinks_ = nullptr;
};

}  // namespace gradproof
