#include "models/sparse_product.h"

#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"
#include "models/active_sites.h"
#include "models/gathered_product.h"
#include "models/sparse_conv.h"

namespace kd {
namespace {

struct Layer {
  const char* name;
  ConvGeometry geometry;
  bool submanifold;
};

SiteKeys KeysOf(const SparseSites& sites) {
  const auto& [depth, height, width] = sites.shape();
  std::vector<int64_t> keys;
  for (const Site& s : sites.sites()) keys.push_back(((int64_t{s.frame} * depth + s.z) * height + s.y) * width + s.x);
  return {.keys = torch::tensor(keys, torch::kInt64), .batch = sites.batch(), .shape = sites.shape()};
}

class SparseProductTest : public testing::TestWithParam<Layer> {};

TEST_P(SparseProductTest, BothFormsAgree) {
  torch::manual_seed(1);
  CounterRng rng(2);
  std::vector<Site> sites;
  for (int32_t cell = 0; cell < 2 * 6 * 7 * 30; ++cell) {
    if (rng.Uniform(0, 1) < 0.2) sites.push_back({cell / (6 * 7 * 30), cell / (7 * 30) % 6, cell / 30 % 7, cell % 30});
  }
  const SparseSites input = SparseSites::Sort(sites, 2, {6, 7, 30})->sites;
  const ConvGeometry& g = GetParam().geometry;
  const SparseSites output = GetParam().submanifold ? input : input.Convolved(g);
  const Rulebook pairs = BuildRulebook(input, output, g);
  const Rulebook reversed = GetParam().submanifold ? pairs : Transposed(pairs);
  const SparseProduct product{
      .pairs = &pairs, .reversed = &reversed, .mirrored = GetParam().submanifold, .in_channels = 6, .out_channels = 18};
  const torch::Tensor features = torch::randn({pairs.num_in, 6}), gradient = torch::randn({pairs.num_out, 18}),
                      bias = torch::randn({18});
  const torch::Tensor weight = torch::randn({18, g.kernel[0], g.kernel[1], g.kernel[2], 6});
  const auto near = [](const torch::Tensor& a, const torch::Tensor& b) {
    EXPECT_EQ(a.sizes(), b.sizes());
    EXPECT_LT((a - b).abs().max().item<float>(), 1e-3);
    EXPECT_GT(b.abs().max().item<float>(), 0.1);
  };
  const SiteKeys input_keys = KeysOf(input);
  const SiteKeys output_keys = GetParam().submanifold ? input_keys : Convolved(input_keys, g);
  EXPECT_TRUE(output_keys.keys.equal(KeysOf(output).keys));
  EXPECT_EQ(output_keys.shape, output.shape());
  const GatheredProduct gathered{.rows = FindPairs(input_keys, output_keys, g), .in_channels = 6, .out_channels = 18};
  near(product.Forward(features, weight, bias), gathered.Forward(features, weight, bias));
  near(product.InputGradient(gradient, weight), gathered.InputGradient(gradient, weight));
  near(product.WeightGradient(features, gradient, weight), gathered.WeightGradient(features, gradient, weight));
}

INSTANTIATE_TEST_SUITE_P(Layers, SparseProductTest,
                         testing::Values(Layer{"submanifold", ConvGeometry::Submanifold({3, 3, 3}), true},
                                         Layer{"pointwise", ConvGeometry::Submanifold({1, 1, 1}), true},
                                         Layer{"strided", {{3, 3, 3}, {2, 2, 2}, {0, 1, 1}}, false},
                                         Layer{"flat", {{3, 1, 1}, {2, 1, 1}, {0, 0, 0}}, false}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(SparseProductTest, NoSitesHaveNoPairs) {
  const SiteKeys none{.keys = torch::empty({0}, torch::kInt64), .batch = 1, .shape = {6, 7, 30}};
  const SiteKeys output = GetParam().submanifold ? none : Convolved(none, GetParam().geometry);
  EXPECT_EQ(output.keys.size(0), 0);
  const PositionRows rows = FindPairs(none, output, GetParam().geometry);
  EXPECT_EQ(rows.in.size(), static_cast<size_t>(GetParam().geometry.volume()));
}

TEST(ActiveSitesTest, ComeBackFromTheirKeys) {
  const SparseSites sites = SparseSites::Sort({{1, 2, 3, 4}, {0, 0, 1, 2}, {0, 5, 6, 29}}, 2, {6, 7, 30})->sites;
  const ActiveSites there(KeysOf(sites)), here(sites);
  EXPECT_EQ(there.OnCpu().sites(), sites.sites());
  EXPECT_TRUE(there.Coordinates().equal(here.Coordinates()));
  EXPECT_EQ(there.size(), 3);
  EXPECT_EQ(there.batch(), 2);
}

// The layers of one key go there and back again.
TEST(SparseConvTest, AnInverseLayerReturnsToTheSitesBefore) {
  torch::manual_seed(3);
  const torch::Tensor coords = torch::tensor({{0, 0, 0, 0}, {0, 2, 3, 4}, {0, 2, 3, 5}, {0, 4, 4, 7}}, torch::kInt64);
  const SparseTensor input = MakeSparseTensor(torch::randn({4, 3}), coords, 1, {5, 5, 8});
  SparseConv3d down(SparseConvOptions{.kind = SparseConvOptions::Kind::kStrided,
                                      .in_channels = 3,
                                      .out_channels = 5,
                                      .stride = {2, 2, 2},
                                      .padding = {1, 1, 1},
                                      .indice_key = "d"});
  SparseConv3d up(SparseConvOptions{
      .kind = SparseConvOptions::Kind::kInverse, .in_channels = 5, .out_channels = 2, .indice_key = "d"});
  const SparseTensor there = down->forward(input), back = up->forward(there);
  EXPECT_EQ(back.sites, input.sites);
  EXPECT_EQ(back.features.sizes(), (std::vector<int64_t>{4, 2}));
  // Every input site was reached, so every row depends on the layer in between.
  EXPECT_GT(back.features.abs().min().item<float>(), 0);
  EXPECT_THROW(up->forward(input), c10::Error);
}

}  // namespace
}  // namespace kd
