#include "ops/sparse_conv.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"
#include "ops/sparse_rulebook.h"
#include "ops/sparse_sites.h"

namespace kd {
namespace {

constexpr int32_t kBatch = 2;

std::vector<Site> RandomSites(CounterRng& rng, const SparseShape& shape, double share) {
  std::vector<Site> sites;
  for (int32_t b = 0; b < kBatch; ++b) {
    for (int32_t z = 0; z < shape[0]; ++z) {
      for (int32_t y = 0; y < shape[1]; ++y) {
        for (int32_t x = 0; x < shape[2]; ++x) {
          if (rng.Uniform(0, 1) < share) sites.push_back({b, z, y, x});
        }
      }
    }
  }
  return sites;
}

std::vector<float> RandomFloats(CounterRng& rng, size_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(rng.Uniform(-1, 1));
  return values;
}

struct Layer {
  std::string name;
  ConvGeometry geometry;
  bool submanifold;
  int64_t in, out;
};

const Layer kLayers[] = {{"submanifold", ConvGeometry::Submanifold({3, 3, 3}), true, 5, 16},
                         {"narrow", ConvGeometry::Submanifold({3, 3, 3}), true, 3, 7},
                         {"down", {{3, 3, 3}, {2, 2, 2}, {1, 1, 1}}, false, 16, 33},
                         {"down without padding in z", {{3, 3, 3}, {2, 2, 2}, {0, 1, 1}}, false, 4, 4},
                         {"out", {{3, 1, 1}, {2, 1, 1}, {0, 0, 0}}, false, 8, 20},
                         {"even kernel", {{2, 2, 2}, {2, 2, 2}, {0, 0, 0}}, false, 2, 3}};

class SparseConvTest : public testing::TestWithParam<Layer> {
 protected:
  SparseConvTest() {
    CounterRng rng(7);
    auto sorted = SparseSites::Sort(RandomSites(rng, {9, 10, 70}, 0.08), kBatch, {9, 10, 70});
    input_ = std::move(sorted->sites);
    const Layer& layer = GetParam();
    output_ = layer.submanifold ? input_ : input_.Convolved(layer.geometry);
    features_ = RandomFloats(rng, input_.size() * layer.in);
    weights_ = RandomFloats(rng, layer.geometry.volume() * layer.in * layer.out);
    bias_ = RandomFloats(rng, layer.out);
    grad_ = RandomFloats(rng, output_.size() * layer.out);
    book_ = BuildRulebook(input_, output_, layer.geometry);
  }

  // Calls visit(input row, output row, position) for every pair, found without sorting or walking.
  template <typename Visit>
  void ForEachPair(Visit visit) const {
    const ConvGeometry& g = GetParam().geometry;
    for (size_t i = 0; i < input_.size(); ++i) {
      for (size_t o = 0; o < output_.size(); ++o) {
        const Site& in = input_.sites()[i];
        const Site& out = output_.sites()[o];
        const int32_t kz = in.z - out.z * g.stride[0] + g.padding[0];
        const int32_t ky = in.y - out.y * g.stride[1] + g.padding[1];
        const int32_t kx = in.x - out.x * g.stride[2] + g.padding[2];
        const bool inside = kz >= 0 && kz < g.kernel[0] && ky >= 0 && ky < g.kernel[1] && kx >= 0 && kx < g.kernel[2];
        if (in.frame == out.frame && inside) visit(i, o, (kz * g.kernel[1] + ky) * g.kernel[2] + kx);
      }
    }
  }

  SparseSites input_, output_;
  std::vector<float> features_, weights_, bias_, grad_;
  Rulebook book_;
};

// weights_ is volume x in x out.
TEST_P(SparseConvTest, ForwardIsTheSumOverPairs) {
  const Layer& layer = GetParam();
  std::vector<double> want(output_.size() * layer.out);
  for (size_t i = 0; i < want.size(); ++i) want[i] = bias_[i % layer.out];
  ForEachPair([&](size_t i, size_t o, int32_t k) {
    for (int64_t a = 0; a < layer.in; ++a) {
      for (int64_t b = 0; b < layer.out; ++b) {
        want[o * layer.out + b] += double{features_[i * layer.in + a]} * weights_[(k * layer.in + a) * layer.out + b];
      }
    }
  });
  const PackedWeights packed(weights_.data(), layer.geometry.volume(), layer.in, layer.out,
                             {layer.in * layer.out, layer.out, 1});
  std::vector<float> got(want.size(), 99.0f);
  SparseConvForward(book_, features_.data(), packed, bias_.data(), got.data(), 0, book_.blocks());
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4) << i;
}

TEST_P(SparseConvTest, GradientsAreTheSumsOverPairs) {
  const Layer& layer = GetParam();
  std::vector<double> want_input(features_.size()), want_weights(weights_.size());
  ForEachPair([&](size_t i, size_t o, int32_t k) {
    for (int64_t a = 0; a < layer.in; ++a) {
      for (int64_t b = 0; b < layer.out; ++b) {
        const double g = grad_[o * layer.out + b];
        want_input[i * layer.in + a] += g * weights_[(k * layer.in + a) * layer.out + b];
        want_weights[(k * layer.in + a) * layer.out + b] += g * features_[i * layer.in + a];
      }
    }
  });
  const Rulebook back = Transposed(book_);
  const PackedWeights packed(weights_.data(), layer.geometry.volume(), layer.out, layer.in,
                             {layer.in * layer.out, 1, layer.out});
  std::vector<float> got_input(features_.size(), 99.0f), got_weights(weights_.size(), 99.0f);
  SparseConvForward(back, grad_.data(), packed, nullptr, got_input.data(), 0, back.blocks());
  SparseConvWeightGradient(book_, features_.data(), layer.in, grad_.data(), layer.out, got_weights.data());
  for (size_t i = 0; i < want_input.size(); ++i) ASSERT_NEAR(got_input[i], want_input[i], 1e-4) << i;
  for (size_t i = 0; i < want_weights.size(); ++i) ASSERT_NEAR(got_weights[i], want_weights[i], 2e-4) << i;
}

TEST_P(SparseConvTest, RangesMayBeCutAnywhere) {
  const auto halves = [](int64_t count, absl::FunctionRef<void(int64_t, int64_t)> body) {
    body(count / 2, count);
    if (count > 1) body(0, count / 2);
  };
  const Rulebook cut = BuildRulebook(input_, output_, GetParam().geometry, halves);
  EXPECT_EQ(cut.in, book_.in);
  EXPECT_EQ(cut.out, book_.out);
  EXPECT_EQ(cut.starts, book_.starts);
  const Layer& layer = GetParam();
  std::vector<float> whole(weights_.size(), 99.0f), in_parts(weights_.size(), 98.0f);
  SparseConvWeightGradient(book_, features_.data(), layer.in, grad_.data(), layer.out, whole.data());
  SparseConvWeightGradient(book_, features_.data(), layer.in, grad_.data(), layer.out, in_parts.data(), halves);
  EXPECT_EQ(in_parts, whole);
}

TEST_P(SparseConvTest, AnOutputSiteExistsWhereAnInputReachesIt) {
  if (GetParam().submanifold) {
    EXPECT_EQ(output_.sites(), input_.sites());
    return;
  }
  const SparseShape shape = GetParam().geometry.OutputShape(input_.shape());
  const ConvGeometry& g = GetParam().geometry;
  std::vector<Site> want;
  for (int32_t b = 0; b < kBatch; ++b) {
    for (int32_t z = 0; z < shape[0]; ++z) {
      for (int32_t y = 0; y < shape[1]; ++y) {
        for (int32_t x = 0; x < shape[2]; ++x) {
          const auto reaches = [&](const Site& in) {
            const int32_t kz = in.z - z * g.stride[0] + g.padding[0], ky = in.y - y * g.stride[1] + g.padding[1];
            const int32_t kx = in.x - x * g.stride[2] + g.padding[2];
            return in.frame == b && kz >= 0 && kz < g.kernel[0] && ky >= 0 && ky < g.kernel[1] && kx >= 0 &&
                   kx < g.kernel[2];
          };
          if (std::any_of(input_.sites().begin(), input_.sites().end(), reaches)) want.push_back({b, z, y, x});
        }
      }
    }
  }
  EXPECT_EQ(output_.shape(), shape);
  EXPECT_EQ(output_.sites(), want);
}

INSTANTIATE_TEST_SUITE_P(Layers, SparseConvTest, testing::ValuesIn(kLayers), [](const auto& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

TEST(SparseSitesTest, SortsAndRemembersWhereRowsStood) {
  const std::vector<Site> sites = {{1, 0, 0, 2}, {0, 1, 0, 0}, {0, 0, 1, 3}, {0, 0, 1, 1}};
  const auto sorted = SparseSites::Sort(sites, 2, {2, 2, 4});
  ASSERT_TRUE(sorted.ok()) << sorted.status();
  EXPECT_EQ(sorted->rows, (std::vector<int32_t>{3, 2, 1, 0}));
  EXPECT_EQ(sorted->sites.sites()[0], (Site{0, 0, 1, 1}));
  EXPECT_EQ(sorted->sites.Scanline(0, 0, 1).end, 2);
}

TEST(SparseSitesTest, RefusesSitesOutsideAndTwins) {
  const auto outside = SparseSites::Sort({{0, 0, 0, 4}}, 1, {2, 2, 4});
  EXPECT_EQ(outside.status().message(),
            "site (frame 0, z 0, y 0, x 4) lies outside 1 frames of 2 x 2 x 4 cells (z, y, x)");
  const auto twins = SparseSites::Sort({{0, 1, 1, 3}, {0, 0, 0, 0}, {0, 1, 1, 3}}, 1, {2, 2, 4});
  EXPECT_EQ(twins.status().message(), "site (frame 0, z 1, y 1, x 3) stands there twice; sites must be unique");
}

TEST(SparseSitesTest, NothingConvolvesToNothing) {
  const auto empty = SparseSites::Sort({}, 1, {5, 5, 5});
  ASSERT_TRUE(empty.ok());
  const ConvGeometry down{{3, 3, 3}, {2, 2, 2}, {1, 1, 1}};
  const SparseSites out = empty->sites.Convolved(down);
  EXPECT_EQ(out.size(), 0u);
  const Rulebook book = BuildRulebook(empty->sites, out, down);
  EXPECT_EQ(book.blocks(), 0);
  std::vector<float> gradient(27 * 2 * 3, 99.0f);
  SparseConvWeightGradient(book, nullptr, 2, nullptr, 3, gradient.data());
  EXPECT_EQ(gradient, std::vector<float>(27 * 2 * 3, 0.0f));
}

}  // namespace
}  // namespace kd
