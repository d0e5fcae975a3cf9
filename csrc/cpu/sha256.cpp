// Two rows at a time: a round of one waits for the round before it, and fills the time of the other's.
#include "cpu/sha256.h"

#include <algorithm>
#include <cstring>

#if defined(DIMVIDA_X86_SETS)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace dimvida::cpu {

#if defined(DIMVIDA_X86_SETS)

#define DIMVIDA_SHA __attribute__((target("sha,sse4.1")))

namespace {

constexpr int64_t kBlock = 64;  // bytes

// Constants of the rounds: the first 32 bits of the fractional parts of the cube roots of the first 64 primes.
alignas(16) constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// A message's state as the instructions take it, the eight words a to h in two halves.
struct State {
  __m128i abef, cdgh;
};

DIMVIDA_SHA inline State initial() {
  return {_mm_set_epi32(0x6a09e667, int(0xbb67ae85), 0x510e527f, int(0x9b05688c)),
          _mm_set_epi32(0x3c6ef372, int(0xa54ff53a), 0x1f83d9ab, 0x5be0cd19)};
}

DIMVIDA_SHA inline __m128i bytes_turned(__m128i words) {
  return _mm_shuffle_epi8(words, _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
}

DIMVIDA_SHA inline void load(const uint8_t* block, __m128i (&words)[4]) {
  for (int i = 0; i < 4; ++i) {
    words[i] = bytes_turned(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block) + i));
  }
}

// Four rounds, whose words of the message are words[group % 4], and the words of the same place four groups on.
DIMVIDA_SHA inline void four_rounds(State& state, __m128i (&words)[4], int group) {
  __m128i& own = words[group % 4];
  const __m128i last = words[(group + 3) % 4];
  __m128i sum = _mm_add_epi32(own, _mm_load_si128(reinterpret_cast<const __m128i*>(kRound) + group));
  state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sum);
  state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32(sum, 0x0e));
  if (group >= 12) return;
  const __m128i between = _mm_alignr_epi8(last, words[(group + 2) % 4], 4);
  own = _mm_sha256msg1_epu32(own, words[(group + 1) % 4]);
  own = _mm_sha256msg2_epu32(_mm_add_epi32(own, between), last);
}

// Blocks of two messages, whose states are handed by value: by reference they would be kept in memory.
struct Pair {
  State a, b;
};

DIMVIDA_SHA Pair taken(Pair pair, const uint8_t* of_a, const uint8_t* of_b, int64_t blocks) {
  for (; blocks > 0; --blocks, of_a += kBlock, of_b += kBlock) {
    State a = pair.a, b = pair.b;
    __m128i a_words[4], b_words[4];
    load(of_a, a_words);
    load(of_b, b_words);
#pragma GCC unroll 16
    for (int group = 0; group < 16; ++group) {
      four_rounds(a, a_words, group);
      four_rounds(b, b_words, group);
    }
    pair.a = {_mm_add_epi32(a.abef, pair.a.abef), _mm_add_epi32(a.cdgh, pair.a.cdgh)};
    pair.b = {_mm_add_epi32(b.abef, pair.b.abef), _mm_add_epi32(b.cdgh, pair.b.cdgh)};
  }
  return pair;
}

// What follows the whole blocks: the rest of the message, a one, zeros and the number of its bits.
struct Tail {
  uint8_t bytes[2 * kBlock] = {};
  int64_t blocks;

  Tail(const uint8_t* message, int64_t size) {
    const int64_t rest = size % kBlock;
    if (rest) std::memcpy(bytes, message + size - rest, rest);
    bytes[rest] = 0x80;
    blocks = rest + 9 <= kBlock ? 1 : 2;
    const uint64_t bits = 8 * uint64_t(size);
    for (int i = 0; i < 8; ++i) bytes[kBlock * blocks - 1 - i] = uint8_t(bits >> (8 * i));
  }
};

DIMVIDA_SHA void store(const State& state, uint8_t* digest) {
  const __m128i feba = _mm_shuffle_epi32(state.abef, 0x1b), hgdc = _mm_shuffle_epi32(state.cdgh, 0x1b);
  __m128i* half = reinterpret_cast<__m128i*>(digest);
  _mm_storeu_si128(half, bytes_turned(_mm_unpacklo_epi64(feba, hgdc)));
  _mm_storeu_si128(half + 1, bytes_turned(_mm_unpackhi_epi64(feba, hgdc)));
}

}  // namespace

bool has_sha256() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}

DIMVIDA_SHA void sha256_rows(const uint8_t* data, int64_t rows, int64_t bytes, uint8_t* digests) {
  for (int64_t row = 0; row < rows; row += 2) {
    const int64_t other = std::min(row + 1, rows - 1);  // the last of an odd number is done twice
    const uint8_t *of_a = data + row * bytes, *of_b = data + other * bytes;
    Pair pair = taken({initial(), initial()}, of_a, of_b, bytes / kBlock);
    const Tail a_tail(of_a, bytes), b_tail(of_b, bytes);
    pair = taken(pair, a_tail.bytes, b_tail.bytes, a_tail.blocks);
    store(pair.a, digests + row * kDigestBytes);
    store(pair.b, digests + other * kDigestBytes);
  }
}

#else

bool has_sha256() { return false; }

void sha256_rows(const uint8_t*, int64_t, int64_t, uint8_t*) {}

#endif

}  // namespace dimvida::cpu
