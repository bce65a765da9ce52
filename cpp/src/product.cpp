// In the manner of Goto and van de Geijn ("Anatomy of high-performance matrix multiplication", 2008): a tile of c is kept in
// registers while k runs; a panel of b, as wide as a tile, stays in the first cache while the tiles of a column are made; a
// block of a stays in the second. Panels are packed, one number after the other as the loop over k reads them, unless the
// operands are so small that they stay where they are in the first caches.
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wignored-attributes"  // packets as template arguments
#pragma GCC diagnostic ignored "-Wuninitialized"       // GCC 12 warns of its own header for AVX-512, included below
#endif

#include "gradproof/product.hpp"

#include <algorithm>

#include "gradproof/thread_pool.hpp"
#include "matrix_unit.hpp"
#include "operands.hpp"

namespace gradproof {
namespace {

using Eigen::internal::packet_traits;
using Eigen::internal::padd;
using Eigen::internal::ploadu;
using Eigen::internal::pmadd;
using Eigen::internal::pset1;
using Eigen::internal::pstoreu;

template <class T>
using Packet = typename packet_traits<T>::type;
template <class T>
constexpr int width = int(packet_traits<T>::size);

// A tile is at most this many rows by two packets, which with two packets of b and one of a fill the registers.
constexpr int tile_rows = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 12 : 6;
constexpr int tile_packets = 2;

constexpr Index k_block = 256;          // a panel of b is 32 KB (AVX-512)
constexpr Index m_block = 512;          // and the block of a 512 KB
constexpr Index small_bytes = 1 << 16;  // of an operand that is not packed
constexpr Index near_bytes = 1 << 15;   // of a result that is in the first caches already
constexpr double parallel_products = 4e6;

// The first `count` numbers of a packet, and nothing of the memory behind them.
#if defined(__AVX512F__)
constexpr bool parts_are_fast = true;
#else
constexpr bool parts_are_fast = false;
#endif
template <class T>
Packet<T> load_part(const T* from, Index count) {
#if defined(__AVX512F__)
  const auto mask = (1u << count) - 1;
  if constexpr (sizeof(T) == 4) return _mm512_maskz_loadu_ps(__mmask16(mask), from);
  if constexpr (sizeof(T) == 8) return _mm512_maskz_loadu_pd(__mmask8(mask), from);
#else
  T numbers[width<T>] = {};
  std::copy_n(from, count, numbers);
  return ploadu<Packet<T>>(numbers);
#endif
}
template <class T>
void store_part(T* to, const Packet<T>& packet, Index count) {
#if defined(__AVX512F__)
  const auto mask = (1u << count) - 1;
  if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(to, __mmask16(mask), packet);
  if constexpr (sizeof(T) == 8) _mm512_mask_storeu_pd(to, __mmask8(mask), packet);
#else
  T numbers[width<T>];
  pstoreu(numbers, packet);
  std::copy_n(numbers, count, to);
#endif
}

// What a tile asks for ahead of time: two cache lines with every `prefetch_steps` steps, as many as can be under way without
// holding up the loads of a.
struct Prefetch {
  const char* data;  // null: there is nothing to ask for
  Index step;
};
constexpr Index prefetch_steps = 8;

// The tile c (rows, columns): all of `packets`, or part of a single one. Rows of b have whole packets unless parts are fast.
// Rows of a lie a_row apart, 1 if a_row is 0 (so that it is known here).
template <class T, int rows, int packets, bool unit_rows>
void tile(const Result<T>& result, const T* a, Index a_row, Index a_column, const T* b, Index b_row, Index k,
          Index columns, Prefetch ahead) {
  // Every loop over it is unrolled, so that it lives in registers.
  Packet<T> sums[rows][packets];
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int p = 0; p < packets; ++p) sums[r][p] = pset1<Packet<T>>(T(0));
  }
  if (unit_rows) a_row = 1;
  const bool whole = packets > 1 || columns == width<T>;
  const auto advance = [&](Index steps) {
#pragma GCC unroll 4
    for (Index step = 0; step < steps; ++step) {
      Packet<T> columns_of_b[packets];
#pragma GCC unroll 2
      for (int p = 0; p < packets; ++p) {
        const T* from = b + p * width<T>;
        columns_of_b[p] = parts_are_fast && packets == 1 ? load_part(from, columns) : ploadu<Packet<T>>(from);
      }
#pragma GCC unroll 12
      for (int r = 0; r < rows; ++r) {
        const Packet<T> factor = pset1<Packet<T>>(a[r * a_row]);
#pragma GCC unroll 2
        for (int p = 0; p < packets; ++p) sums[r][p] = pmadd(factor, columns_of_b[p], sums[r][p]);
      }
      a += a_column;
      b += b_row;
    }
  };
  // The rows of c are asked for one by one in the same way; where k is too short for that, as many as need be at once.
  T* asked = result.c;
  const auto ask = [&] {
    prefetch_to_write(asked);
    if (packets > 1) prefetch_to_write(asked + width<T>);
    asked += result.stride;
  };
  Index rows_ahead = ahead.data ? rows : 0;
  for (; rows_ahead * prefetch_steps > k && rows_ahead > 0; --rows_ahead) ask();
  for (; k >= prefetch_steps; k -= prefetch_steps) {
    if (ahead.data) {
      prefetch(ahead.data);
      prefetch(ahead.data + line);
      ahead.data += ahead.step;
      if (rows_ahead > 0) ask();
      --rows_ahead;
    }
    advance(prefetch_steps);
  }
  advance(k);
  T* c = result.c;
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int p = 0; p < packets; ++p) {
      const Index j = p * width<T>;
      const T* start = result.start == Start::c ? c : result.row;
      const Packet<T> sum = sums[r][p];
      if (whole) {
        pstoreu(c + j, start ? padd(ploadu<Packet<T>>(start + j), sum) : sum);
      } else {
        store_part(c + j, start ? padd(load_part(start + j, columns), sum) : sum, columns);
      }
    }
    c += result.stride;
  }
}

template <class T>
using Tile = void (*)(const Result<T>&, const T*, Index, Index, const T*, Index, Index, Index, Prefetch);

template <class T, int packets, bool unit_rows, int... rows>
Tile<T> tile_of(Index wanted, std::integer_sequence<int, rows...>) {
  static constexpr Tile<T> tiles[] = {tile<T, rows + 1, packets, unit_rows>...};
  return tiles[wanted - 1];
}

template <class T>
Tile<T> tile_of(Index rows, Index packets, bool unit_rows) {
  constexpr auto all = std::make_integer_sequence<int, tile_rows>();
  if (unit_rows) return packets == 1 ? tile_of<T, 1, true>(rows, all) : tile_of<T, 2, true>(rows, all);
  return packets == 1 ? tile_of<T, 1, false>(rows, all) : tile_of<T, 2, false>(rows, all);
}

// to[j * lead + i] = from (i, j) for i < rows, and 0 up to `lead`: rows of `from` become neighbours. Writes up to a packet
// beyond its last number, as long as lead is not a multiple of a packet.
template <class T>
void pack(T* to, const View<T>& from, Index rows, Index columns, Index lead) {
  constexpr Index w = width<T>;
  Index i = 0;
  if (from.row == 1) {
    for (; i + w <= rows; i += w) {
      for (Index j = 0; j < columns; ++j) pstoreu(to + j * lead + i, ploadu<Packet<T>>(from.data + j * from.column + i));
    }
  } else {
    // A single packet of rows or less: what is stored beyond it is overwritten by the next column.
    for (; i + w <= rows || (i == 0 && rows <= w); i += w) {
      const Index height = std::min(w, rows);
      for (Index j = 0; j < columns; j += w) {
        const Index length = std::min(w, columns - j);
        Eigen::internal::PacketBlock<Packet<T>, int(w)> block;
        for (Index r = 0; r < w; ++r) {
          const T* row = from.data + (i + r) * from.row + j;
          block.packet[r] = r >= height   ? pset1<Packet<T>>(T(0))
                            : length == w ? ploadu<Packet<T>>(row)
                                          : load_part(row, length);
        }
        ptranspose(block);
        for (Index r = 0; r < length; ++r) pstoreu(to + (j + r) * lead + i, block.packet[r]);
      }
    }
  }
  if (i >= lead) return;
  for (Index j = 0; j < columns; ++j) {
    for (Index r = i; r < rows; ++r) to[j * lead + r] = from.data[r * from.row + j * from.column];
    for (Index r = std::max(i, rows); r < lead; ++r) to[j * lead + r] = T(0);
  }
}

// Rows in tiles of equal height, give or take one: the first ones are the higher ones.
struct Rows {
  Index tiles, height, higher;

  explicit Rows(Index m) : tiles((m + tile_rows - 1) / tile_rows), height(m / tiles), higher(m % tiles) {}
  Index first(Index t) const { return t * height + std::min(t, higher); }
  Index count(Index t) const { return height + (t < higher ? 1 : 0); }
};

// One block: k steps, for which panels of b stay in the cache.
template <class T>
void block_product(const Result<T>& result, const View<T>& a, const View<T>& b, Index m, Index k, Index n, bool pack_a,
                   bool pack_b) {
  constexpr Index panel = tile_packets * width<T>;
  const Rows rows(m);
  T* a_panels = pack_a ? scratch<T>(0, m * k + width<T>) : nullptr;
  if (pack_a) {
    for (Index t = 0; t < rows.tiles; ++t) {
      pack(a_panels + rows.first(t) * k, a.at(rows.first(t), 0), rows.count(t), k, rows.count(t));
    }
  }
  Index columns;
  for (Index j = 0; j < n; j += columns) {
    columns = n - j >= panel ? panel : std::min<Index>(width<T>, n - j);
    const Index packets = columns > width<T> ? 2 : 1, padded = packets * width<T>;
    const T* b_panel = b.data + j;
    Index b_row = b.row;
    if (pack_b || (columns < padded && !parts_are_fast)) {
      T* packed = scratch<T>(1, k * padded);
      pack(packed, View<T>{b.data + j * b.column, b.column, b.row}, columns, k, padded);
      b_panel = packed;
      b_row = padded;
    }
    // The next panel of b is fetched while this one is in use: a few of its rows, or columns, with each tile.
    const bool more = pack_b && j + columns < n;
    const T* next = more ? b.data + (j + columns) * b.column : b_panel;
    const Index step = more ? (b.column == 1 ? b.row : b.column) * Index(sizeof(T)) : 0;
    const Index per_tile = more ? (b.column == 1 ? k / prefetch_steps * step : 2 * line) : 0;
    const bool near = !more && m * n * Index(sizeof(T)) <= near_bytes;
    for (Index t = 0; t < rows.tiles; ++t) {
      const char* asked = reinterpret_cast<const char*>(next) + std::min<Index>(t, prefetch_steps) * per_tile;
      const Prefetch ahead{near ? nullptr : asked, step};
      const Index i = rows.first(t), count = rows.count(t);
      const bool unit_rows = pack_a || a.row == 1;
      const T* start = pack_a ? a_panels + i * k : a.data + i * a.row;
      tile_of<T>(count, packets, unit_rows)(result.at(i, j), start, a.row, pack_a ? count : a.column, b_panel, b_row, k,
                                            columns, ahead);
    }
  }
}

template <class T>
void serial_product(const Result<T>& result, const View<T>& a, const View<T>& b, Index m, Index k, Index n) {
  const Index blocks = std::max<Index>(1, (k + k_block - 1) / k_block);
  const bool pack_a = m * k * Index(sizeof(T)) > small_bytes && n > 4 * tile_packets * width<T>;
  const bool pack_b = b.column != 1 || k * n * Index(sizeof(T)) > small_bytes;
  for (Index block = 0; block < blocks; ++block) {
    const Index first = block * k / blocks, count = (block + 1) * k / blocks - first;
    const Index parts = (m + m_block - 1) / m_block;
    for (Index part_of_m = 0; part_of_m < parts; ++part_of_m) {
      const Index i = part_of_m * m / parts, height = (part_of_m + 1) * m / parts - i;
      Result<T> part = result.at(i, 0);
      if (block > 0) part.start = Start::c;
      block_product(part, a.at(i, first), b.at(first, 0), height, count, n, pack_a, pack_b);
    }
  }
}

}  // namespace

template <class T>
void product(T* c, const T* a, const T* b, Index m, Index k, Index n, bool transpose_a, bool transpose_b, Start start,
             const T* row) {
  const Result<T> result{c, n, start, row};
  const View<T> A = transpose_a ? View<T>{a, 1, m} : View<T>{a, k, 1};
  const View<T> B = transpose_b ? View<T>{b, 1, k} : View<T>{b, n, 1};
  const bool large = double(m) * double(k) * double(n) >= parallel_products;
  const int threads = large ? thread_count() : 1;
  const bool unit = sizeof(T) == 4 && matrix_unit_serves(m, k, n);
  const auto serial = [&](const Result<T>& result, const View<T>& A, const View<T>& B, Index m, Index k, Index n) {
    if constexpr (sizeof(T) == 4) {
      if (unit) return matrix_unit_product(result, A, B, m, k, n);
    }
    serial_product(result, A, B, m, k, n);
  };
  if (threads == 1) return serial(result, A, B, m, k, n);
  const bool by_rows = m > n;
  const Index grain = by_rows ? tile_rows : tile_packets * width<T>;
  const Index grains = ((by_rows ? m : n) + grain - 1) / grain, parts = std::min<Index>(threads, grains);
  parallel_for(parts, [&](Index part, int) {
    const Index first = part * grains / parts * grain;
    const Index stop = std::min(by_rows ? m : n, (part + 1) * grains / parts * grain);
    if (by_rows) {
      serial(result.at(first, 0), A.at(first, 0), B, stop - first, k, n);
    } else {
      serial(result.at(0, first), A, B.at(0, first), m, k, stop - first);
    }
  });
}

template void product(float*, const float*, const float*, Index, Index, Index, bool, bool, Start, const float*);
template void product(double*, const double*, const double*, Index, Index, Index, bool, bool, Start, const double*);

}  // namespace gradproof
