// What a product is made from, and memory for the parts of it that are laid out anew.
#pragma once

#include <new>

#include "gradproof/product.hpp"

namespace gradproof {

// A matrix whose entry (i, j) is at data[i * row + j * column].
template <class T>
struct View {
  const T* data;
  Index row, column;

  View at(Index i, Index j) const { return {data + i * row + j * column, row, column}; }
};

// Where a product goes, and what it starts from.
template <class T>
struct Result {
  T* c;
  Index stride;
  Start start;
  const T* row;

  Result at(Index i, Index j) const { return {c + i * stride + j, stride, start, row ? row + j : nullptr}; }
};

// Memory that a thread keeps for its panels: it is as large as a few blocks at most.
template <class T>
T* scratch(int which, Index count) {
  struct Memory {
    T* data = nullptr;
    Index size = 0;
    ~Memory() { ::operator delete[](data, std::align_val_t(64)); }
  };
  static thread_local Memory kept[2];
  Memory& memory = kept[which];
  if (memory.size < count) {
    ::operator delete[](memory.data, std::align_val_t(64));
    memory.data = nullptr;
    memory.size = 0;
    memory.data = static_cast<T*>(::operator new[](std::size_t(count) * sizeof(T), std::align_val_t(64)));
    memory.size = count;
  }
  return memory.data;
}

#if defined(__GNUC__)
inline void prefetch(const void* address) { __builtin_prefetch(address, 0, 2); }
inline void prefetch_to_write(const void* address) { __builtin_prefetch(address, 1, 3); }
#else
inline void prefetch(const void*) {}
inline void prefetch_to_write(const void*) {}
#endif

constexpr Index line = 64;  // bytes: of a cache

}  // namespace gradproof
