// A float is the sum of three numbers of 8 bits, high + middle + low, each a bfloat16. Of the nine products of two of these
// sums the six largest are made, exact, and added up in float: what is left out is less than a rounding of the product, and
// a result is as accurate as one of fused multiplications and additions. Numbers below 2^-102 lose digits, and what overflows
// may be NaN.
//
// Reference: G. Henry, P. T. P. Tang, A. Heinecke, Leveraging the bfloat16 artificial intelligence datatype for
// higher-precision computations, ARITH 2019.
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wignored-attributes"  // vectors as template arguments
#endif

#include "matrix_unit.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#if defined(GRADPROOF_AMX) && defined(__AVX512DQ__)
#define GRADPROOF_HAS_MATRIX_UNIT
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace gradproof {
namespace {

thread_local bool asked = false;
std::atomic<bool> allowed{true};

#if defined(GRADPROOF_HAS_MATRIX_UNIT)

constexpr Index tile_side = 16;               // rows of a tile, and columns of one of floats
constexpr Index tile_steps = 32;              // of k, in a row of a tile of bfloat16
constexpr Index tile_bytes = 1024;
constexpr Index group = 3 * tile_bytes;       // the high, middle and low parts of one tile
constexpr Index corner_side = 2 * tile_side;  // of what four tiles hold
constexpr Index k_block = 512;
constexpr Index staying_bytes = 3 << 18;      // of what is laid out as a whole
constexpr Index multiplications = 6;          // of parts of a and b
constexpr double worth_it = 1.5e6;            // multiplications

bool present() {
  unsigned a, b, c, d;
  constexpr unsigned tiles = 1u << 24, bfloat16 = 1u << 22;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & tiles) || !(d & bfloat16)) return false;
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

bool available() {
  static const bool here = present();
  return here;
}

// Tiles 0 to 3 are the corner (0 1 / 2 3), 4 and 5 are of a, 6 and 7 of b.
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t ::)
#define TILE_LOAD(t, from, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(from), "r"(Index(stride)) : "memory")
#define TILE_STORE(t, to, stride) \
  __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(to), "r"(Index(stride)) : "memory")
#define TILE_DOT(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

// While one exists, this thread's tiles are laid out as they are used here.
class Tiles {
 public:
  Tiles() {
    static constexpr Layout layout;
    __asm__ volatile("ldtilecfg %0" ::"m"(layout));
  }
  ~Tiles() { __asm__ volatile("tilerelease" ::); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  struct alignas(64) Layout {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
};

using Vector = __m512;
using Bits = __m512i;

Vector load(const float* from, Index count) {
  return _mm512_maskz_loadu_ps(count >= tile_side ? 0xFFFF : count <= 0 ? 0 : __mmask16((1u << count) - 1), from);
}

Bits upper_half(Bits bits) { return _mm512_and_si512(bits, _mm512_set1_epi32(int(0xFFFF0000))); }
// The nearest one that is finite: what is left of an infinite number is infinite, then, to the last of its parts.
Vector to_bfloat16(Vector x) {
  constexpr int smaller_size = 2, sign_of_first = 0;
  const Vector largest = _mm512_castsi512_ps(_mm512_set1_epi32(0x7F7F0000));
  const Bits rounded = upper_half(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000)));
  return _mm512_range_ps(_mm512_castsi512_ps(rounded), largest, smaller_size | sign_of_first);
}

// One row of the three tiles of a group: x and y in turns.
void split(char* to, Vector x, Vector y) {
  const auto store = [to](Index part, Vector even, Vector odd) {
    const Bits low = _mm512_maskz_srli_epi32(0xFFFF, _mm512_castps_si512(even), 16);
    _mm512_store_si512(to + part * tile_bytes, _mm512_or_si512(low, upper_half(_mm512_castps_si512(odd))));
  };
  const Vector x_high = to_bfloat16(x), y_high = to_bfloat16(y), x_rest = x - x_high, y_rest = y - y_high;
  const Vector x_middle = to_bfloat16(x_rest), y_middle = to_bfloat16(y_rest);
  store(0, x_high, y_high);
  store(1, x_middle, y_middle);
  store(2, x_rest - x_middle, y_rest - y_middle);
}

// Adds what `groups` groups of two tiles of a and of two of b make to the corner. The smallest products come first. The unit is
// busy with a group for some hundred cycles, in which the others do something else: meanwhile().
template <class Meanwhile>
void add_products(const char* a, const char* next_a, const char* b, const char* next_b, Index groups,
                  const Meanwhile& meanwhile) {
  constexpr Index high = 0, middle = tile_bytes, low = 2 * tile_bytes;
  const auto load_a = [&](Index part) {
    TILE_LOAD(4, a + part, line);
    TILE_LOAD(5, next_a + part, line);
  };
  const auto load_b = [&](Index part) {
    TILE_LOAD(6, b + part, line);
    TILE_LOAD(7, next_b + part, line);
  };
  const auto multiply = [&] {
    TILE_DOT(0, 4, 6);
    TILE_DOT(1, 4, 7);
    TILE_DOT(2, 5, 6);
    TILE_DOT(3, 5, 7);
    meanwhile();
  };
  for (Index g = 0; g < groups; ++g) {
    load_a(high);
    load_b(low);
    multiply();
    load_b(middle);
    multiply();
    load_a(middle);
    multiply();
    load_b(high);
    multiply();
    load_a(low);
    multiply();
    load_a(high);
    multiply();
    a += group;
    next_a += group;
    b += group;
    next_b += group;
  }
}

// A corner of a result with its sums: what it starts from, and where it goes.
class Corner {
 public:
  void start(const Result<float>& result, Index rows, Index columns) {
    result_ = result;
    rows_ = rows;
    columns_ = columns;
    written_ = 0;
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
  }

  void take_sums() {
    TILE_STORE(0, sums_, stride);
    TILE_STORE(1, sums_ + tile_side, stride);
    TILE_STORE(2, sums_ + below, stride);
    TILE_STORE(3, sums_ + below + tile_side, stride);
  }

  // Writes up to `count` rows more.
  void write(Index count) {
    for (const Index end = std::min(written_ + count, rows_); written_ < end; ++written_) {
      for (Index j = 0; j < columns_; j += tile_side) {
        const auto mask = __mmask16(columns_ - j >= tile_side ? 0xFFFF : (1u << (columns_ - j)) - 1);
        Vector sums = _mm512_load_ps(sums_ + written_ * corner_side + j);
        float* to = result_.c + written_ * result_.stride + j;
        const float* start = result_.start == Start::c ? to : result_.row + j;
        if (result_.start != Start::zero) sums += _mm512_maskz_loadu_ps(mask, start);
        _mm512_mask_storeu_ps(to, mask, sums);
      }
    }
  }

 private:
  static constexpr Index stride = corner_side * Index(sizeof(float)), below = tile_side * corner_side;

  Result<float> result_{};
  Index rows_ = 0, columns_ = 0, written_ = 0;
  alignas(64) float sums_[corner_side * corner_side];
};

Index up(Index count, Index unit) { return (count + unit - 1) / unit * unit; }

// Lays out `rows` rows of a matrix, filled up to whole corners, a little at a time. Step p of a group of 32 is paired with step
// 16 + p, in a as in b. Within a tile of a the rows follow each other, within one of b the steps (`by_steps`).
class Strips {
 public:
  Strips(char* to, const View<float>& from, Index rows, Index steps, bool by_steps)
      : to_(to),
        from_(from),
        rows_(rows),
        steps_(steps),
        turned_(by_steps == (from.row != 1)),
        strips_(up(rows, corner_side) / tile_side),
        groups_(rows > 0 ? up(steps, tile_steps) / tile_steps : 0) {}

  // The fifth part of a group.
  void pack() {
    if (group_ == groups_) return;
    if (part_ == 0) {
      fetch();
    } else {
      char* to = to_ + (strip_ * groups_ + group_) * group;
      fetch_ahead();
      for (Index r = 4 * (part_ - 1); r < 4 * part_; ++r) split(to + r * line, vectors_[0].packet[r], vectors_[1].packet[r]);
    }
    if (++part_ < 5) return;
    part_ = 0;
    if (++strip_ < strips_) return;
    strip_ = 0;
    ++group_;
  }
  void pack_all() {
    while (group_ < groups_) pack();
  }

 private:
  // A quarter of the memory of the next group of this strip.
  void fetch_ahead() {
    const View<float> part = from_.at(strip_ * tile_side, (group_ + 1) * tile_steps);
    for (Index r = 4 * (part_ - 1); r < 4 * part_; ++r) {
      for (Index half = 0; half < 2; ++half) {
        const Index first = half * tile_side;
        prefetch(part.data + (part.row == 1 ? (first + r) * part.column : r * part.row + first));
      }
    }
  }

  void fetch() {
    const View<float> part = from_.at(strip_ * tile_side, group_ * tile_steps);
    const Index rows = rows_ - strip_ * tile_side, steps = steps_ - group_ * tile_steps;
    for (Index half = 0; half < 2; ++half) {
      const Index first = half * tile_side;
      auto& block = vectors_[half];
      for (Index r = 0; r < tile_side; ++r) {
        block.packet[r] = part.row == 1 ? load(part.data + (first + r) * part.column, first + r < steps ? rows : 0)
                                        : load(part.data + r * part.row + first, r < rows ? steps - first : 0);
      }
      if (turned_) ptranspose(block);
    }
  }

  char* to_;
  View<float> from_;
  Index rows_, steps_;
  bool turned_;
  Index strips_, groups_, strip_ = 0, group_ = 0, part_ = 0;
  Eigen::internal::PacketBlock<Vector, int(tile_side)> vectors_[2];
};

// One block of k steps. The smaller of a and b stays: it is laid out as a whole, and small enough for the second cache. The
// other moves: two strips of it at a time, the next ones while these are multiplied.
void block_product(const Result<float>& result, const View<float>& a, const View<float>& b, Index m, Index k, Index n) {
  const bool b_moves = m < n;
  const Index stays = b_moves ? m : n, moves = b_moves ? n : m, groups = up(k, tile_steps) / tile_steps;
  const Index strip = groups * group;
  char* staying = scratch<char>(0, up(stays, corner_side) / tile_side * strip);
  char* moving[] = {scratch<char>(1, 4 * strip), scratch<char>(1, 4 * strip) + 2 * strip};
  const View<float> columns_of_b{b.data, b.column, b.row};
  Strips(staying, b_moves ? a : columns_of_b, stays, k, !b_moves).pack_all();
  const auto strips = [&](Index first, int which) {
    const Index count = std::min(corner_side, moves - first);
    return Strips(moving[which], (b_moves ? columns_of_b : a).at(first, 0), count, k, b_moves);
  };
  strips(0, 0).pack_all();
  const Index rows_each = (corner_side + multiplications * groups - 1) / (multiplications * groups);
  Corner corners[2];
  Corner *here = &corners[0], *last = &corners[1];
  int which = 0;
  for (Index outer = 0; outer < moves; outer += corner_side, which = 1 - which) {
    Strips next = strips(std::min(outer + corner_side, moves), 1 - which);
    for (Index inner = 0; inner < stays; inner += corner_side) {
      const Index i = b_moves ? inner : outer, j = b_moves ? outer : inner;
      here->start(result.at(i, j), std::min(corner_side, m - i), std::min(corner_side, n - j));
      const char* stay = staying + inner / tile_side * strip;
      const char *rows = b_moves ? stay : moving[which], *columns = b_moves ? moving[which] : stay;
      add_products(rows, rows + strip, columns, columns + strip, groups, [&] {
        last->write(rows_each);
        next.pack();
      });
      last->write(corner_side);
      here->take_sums();
      std::swap(here, last);
    }
    next.pack_all();
  }
  last->write(corner_side);
}

#endif

}  // namespace

MatrixUnit::MatrixUnit() : before_(asked) { asked = true; }
MatrixUnit::~MatrixUnit() { asked = before_; }

#if defined(GRADPROOF_HAS_MATRIX_UNIT)

bool matrix_unit() { return allowed && available(); }

bool matrix_unit_serves(Index m, Index k, Index n) {
  const bool large = std::min({m, k, n}) >= corner_side && double(m) * double(k) * double(n) >= worth_it;
  return large && asked && matrix_unit();
}

void matrix_unit_product(const Result<float>& result, const View<float>& a, const View<float>& b, Index m, Index k, Index n) {
  const Tiles tiles;
  const Index blocks = (k + k_block - 1) / k_block, steps = up((k + blocks - 1) / blocks, tile_steps);
  const Index fitting = staying_bytes / (steps / tile_steps * group) * tile_side;
  const Index stay = std::max(fitting / corner_side * corner_side, corner_side);
  const bool b_moves = m < n;
  for (Index first = 0; first < k; first += steps) {
    for (Index at = 0; at < std::min(m, n); at += stay) {
      const Index i = b_moves ? at : 0, j = b_moves ? 0 : at;
      Result<float> part = result.at(i, j);
      if (first > 0) part.start = Start::c;
      block_product(part, a.at(i, first), b.at(first, j), b_moves ? std::min(stay, m - at) : m, std::min(steps, k - first),
                    b_moves ? n : std::min(stay, n - at));
    }
  }
}

#else

bool matrix_unit() { return false; }
bool matrix_unit_serves(Index, Index, Index) { return false; }
void matrix_unit_product(const Result<float>&, const View<float>&, const View<float>&, Index, Index, Index) {}

#endif

void allow_matrix_unit(bool allow) { allowed = allow; }

}  // namespace gradproof
