#include "cpu/png.h"

#include <zlib.h>

#include <cstring>
#include <new>
#include <stdexcept>

namespace dimvida::cpu {

namespace {

constexpr uint8_t kSignature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr uint8_t kUp = 2;  // the filter: each row is its difference from the one above
constexpr int64_t kAround = sizeof(kSignature) + 3 * 12 + 13;  // what a file has around its packed pixels

// One stream for many pictures: what zlib works with is allocated once.
class Packer {
 public:
  Packer() {
    if (deflateInit2(&stream_, 1, Z_DEFLATED, 15, 9, Z_RLE) != Z_OK) throw std::bad_alloc();
  }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;
  ~Packer() { deflateEnd(&stream_); }

  int64_t bound(int64_t size) { return int64_t(deflateBound(&stream_, uLong(size))); }

  // Packs all of `data` into the room for bound(size) bytes at `out`; how many they are.
  int64_t pack(std::vector<uint8_t>& data, uint8_t* out) {
    deflateReset(&stream_);
    stream_.next_in = data.data();
    stream_.avail_in = uInt(data.size());
    stream_.next_out = out;
    stream_.avail_out = uInt(bound(int64_t(data.size())));
    if (deflate(&stream_, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("zlib cannot pack a picture");
    return int64_t(stream_.total_out);
  }

 private:
  z_stream stream_ = {};
};

uint8_t* put_number(uint8_t* out, uint64_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) *out++ = uint8_t(number >> shift);
  return out;
}

// A chunk whose body already lies behind the room for its length and kind.
uint8_t* put_chunk(uint8_t* out, const char* kind, int64_t size) {
  uint8_t* const start = put_number(out, uint64_t(size));
  std::memcpy(start, kind, 4);
  return put_number(start + 4 + size, crc32(0, start, uInt(4 + size)));
}

void filter(const uint8_t* pixels, int64_t height, int64_t row, uint8_t* out) {
  for (int64_t y = 0; y < height; ++y, pixels += row, out += row) {
    *out++ = kUp;
    if (y == 0) {
      std::memcpy(out, pixels, row);
    } else {
      for (int64_t i = 0; i < row; ++i) out[i] = uint8_t(pixels[i] - pixels[i - row]);
    }
  }
}

}  // namespace

const char* version_of_zlib() { return zlibVersion(); }

std::vector<uint8_t> png_files(const uint8_t* pixels, int64_t count, int64_t height, int64_t width,
                               int64_t channels, std::vector<int64_t>& sizes) {
  const int64_t row = width * channels;
  Packer packer;
  std::vector<uint8_t> filtered(height * (1 + row)), files;
  const int64_t most = kAround + packer.bound(int64_t(filtered.size()));
  for (int64_t number = 0; number < count; ++number, pixels += height * row) {
    const size_t before = files.size();
    files.resize(before + most);
    uint8_t* const start = files.data() + before;
    std::memcpy(start, kSignature, sizeof(kSignature));
    uint8_t* out = start + sizeof(kSignature);
    uint8_t* header = put_number(put_number(out + 8, uint64_t(width)), uint64_t(height));
    // Bits, colours, and the only methods there are.
    const uint8_t kind[] = {8, uint8_t(channels == 3 ? 2 : 0), 0, 0, 0};
    std::memcpy(header, kind, sizeof(kind));
    out = put_chunk(out, "IHDR", 13);
    filter(pixels, height, row, filtered.data());
    out = put_chunk(out, "IDAT", packer.pack(filtered, out + 8));
    out = put_chunk(out, "IEND", 0);
    sizes.push_back(out - start);
    files.resize(before + (out - start));
  }
  return files;
}

}  // namespace dimvida::cpu
