#include "ops/sparse_rulebook.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "absl/synchronization/mutex.h"

namespace kd {
namespace {

// Pairs of a range of blocks.
struct Part {
  std::vector<int32_t> in, out;
  // Pairs per (block, position).
  std::vector<int64_t> counts;
};

// Pairs between the output rows [begin, end) of one scanline and one input scanline, per kernel position along x.
// positions[kx] receives them.
struct PairList {
  std::vector<int32_t> in, out;
};
void Walk(const std::vector<Site>& inputs, SparseSites::Range line, const std::vector<Site>& outputs, int32_t begin,
          int32_t end, const ConvGeometry& g, PairList* positions) {
  const int32_t first = outputs[begin].x * g.stride[2] - g.padding[2];
  int32_t at = static_cast<int32_t>(std::lower_bound(inputs.begin() + line.begin, inputs.begin() + line.end, first,
                                                     [](const Site& site, int32_t x) { return site.x < x; }) -
                                    inputs.begin());
  for (int32_t row = begin; row < end; ++row) {
    const int32_t low = outputs[row].x * g.stride[2] - g.padding[2];
    while (at < line.end && inputs[at].x < low) ++at;
    for (int32_t i = at; i < line.end && inputs[i].x < low + g.kernel[2]; ++i) {
      PairList& list = positions[inputs[i].x - low];
      list.in.push_back(i);
      list.out.push_back(row);
    }
  }
}

void AppendBlock(const SparseSites& input, const SparseSites& output, const ConvGeometry& g, int32_t begin, int32_t end,
                 std::vector<PairList>& positions, Part& part) {
  for (PairList& list : positions) {
    list.in.clear();
    list.out.clear();
  }
  const std::vector<Site>& outputs = output.sites();
  for (int32_t row = begin; row < end;) {
    const Site site = outputs[row];
    const int32_t line_end = std::min(end, output.Scanline(site.frame, site.z, site.y).end);
    for (int32_t kz = 0; kz < g.kernel[0]; ++kz) {
      const int32_t z = site.z * g.stride[0] - g.padding[0] + kz;
      if (z < 0 || z >= input.shape()[0]) continue;
      for (int32_t ky = 0; ky < g.kernel[1]; ++ky) {
        const int32_t y = site.y * g.stride[1] - g.padding[1] + ky;
        if (y < 0 || y >= input.shape()[1]) continue;
        const SparseSites::Range line = input.Scanline(site.frame, z, y);
        if (line.begin == line.end) continue;
        Walk(input.sites(), line, outputs, row, line_end, g, &positions[(kz * g.kernel[1] + ky) * g.kernel[2]]);
      }
    }
    row = line_end;
  }
  for (const PairList& list : positions) {
    part.in.insert(part.in.end(), list.in.begin(), list.in.end());
    part.out.insert(part.out.end(), list.out.begin(), list.out.end());
    part.counts.push_back(static_cast<int64_t>(list.in.size()));
  }
}

}  // namespace

Rulebook BuildRulebook(const SparseSites& input, const SparseSites& output, const ConvGeometry& g,
                       ParallelFor parallel) {
  Rulebook rulebook{.num_in = static_cast<int64_t>(input.size()),
                    .num_out = static_cast<int64_t>(output.size()),
                    .volume = g.volume()};
  absl::Mutex mutex;
  std::map<int64_t, Part> parts;  // By first block; guarded by mutex.
  parallel(rulebook.blocks(), [&](int64_t begin, int64_t end) {
    Part part;
    std::vector<PairList> positions(rulebook.volume);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * Rulebook::kBlockRows;
      AppendBlock(input, output, g, static_cast<int32_t>(first),
                  static_cast<int32_t>(std::min(first + Rulebook::kBlockRows, rulebook.num_out)), positions, part);
    }
    absl::MutexLock lock(&mutex);
    parts.emplace(begin, std::move(part));
  });
  rulebook.starts.reserve(rulebook.blocks() * rulebook.volume + 1);
  rulebook.starts.push_back(0);
  if (parts.size() == 1) {
    rulebook.in = std::move(parts.begin()->second.in);
    rulebook.out = std::move(parts.begin()->second.out);
  }
  for (auto& [begin, part] : parts) {
    if (parts.size() > 1) {
      rulebook.in.insert(rulebook.in.end(), part.in.begin(), part.in.end());
      rulebook.out.insert(rulebook.out.end(), part.out.begin(), part.out.end());
    }
    for (const int64_t count : part.counts) rulebook.starts.push_back(rulebook.starts.back() + count);
  }
  return rulebook;
}

Rulebook Transposed(const Rulebook& r) {
  Rulebook t{.num_in = r.num_out, .num_out = r.num_in, .volume = r.volume};
  t.in.resize(r.in.size());
  t.out.resize(r.in.size());
  t.starts.assign(t.blocks() * t.volume + 1, 0);
  // Calls visit(pair, place) with the place among (block, position) of the exchanged pair, in the order of r.
  const auto for_each = [&](auto visit) {
    for (size_t group = 0; group + 1 < r.starts.size(); ++group) {
      const int64_t position = static_cast<int64_t>(group) % r.volume;
      for (int64_t pair = r.starts[group]; pair < r.starts[group + 1]; ++pair) {
        visit(pair, r.in[pair] / Rulebook::kBlockRows * r.volume + position);
      }
    }
  };
  for_each([&](int64_t, int64_t place) { ++t.starts[place + 1]; });
  for (size_t i = 1; i < t.starts.size(); ++i) t.starts[i] += t.starts[i - 1];
  std::vector<int64_t> next(t.starts.begin(), t.starts.end() - 1);
  for_each([&](int64_t pair, int64_t place) {
    const int64_t at = next[place]++;
    t.in[at] = r.out[pair];
    t.out[at] = r.in[pair];
  });
  return t;
}

}  // namespace kd
