#include "eval/waymo.h"

#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {
void Compare(const std::vector<WaymoScore>& scores, const nlohmann::json& want) {
  const auto got = nlohmann::json::parse(WaymoScoresToJson(scores));
  double worst = 0, worst_ha = 0;
  int miscounts = 0;
  for (const auto& [name, expected] : want.items()) {
    ASSERT_TRUE(got.contains(name)) << name;
    ASSERT_EQ(got[name].size(), expected.size()) << name;
    for (const auto& [key, value] : expected.items()) {
      if (value.is_array()) {
        for (int i = 0; i < 101; ++i) {
          if (key == "precision_ha") {
            worst_ha = std::max(worst_ha, std::abs(got[name][key][i].get<double>() - value[i].get<double>()));
          } else if (got[name][key][i] != value[i]) {
            ++miscounts;
            if (miscounts < 10) ADD_FAILURE() << name << key << i << " " << got[name][key][i] << " want " << value[i];
          }
        }
      } else {
        const double d = std::abs(got[name][key].get<double>() - value.get<double>());
        worst = std::max(worst, d);
        EXPECT_LT(d, 2e-6) << name << key << " " << got[name][key] << " " << value;
      }
    }
  }
  EXPECT_EQ(got.size(), want.size());
  std::cout << "worst " << worst << " ha " << worst_ha << " miscounts " << miscounts << "\n";
}
TEST(X, Y) {
  for (std::string c : {"w01_small", "w02_ties_grid_scores", "w03_difficulty_points", "w04_nlz_heading", "w05_bev_size_velocity"}) {
    const std::string f = SourceDir() + "/tests/golden/waymo/" + c;
    auto frames = ReadWaymoEvalFrames(f + "/ground_truths.bin", f + "/predictions.bin");
    ASSERT_THAT(frames, IsOk());
    WaymoEvalOptions o;
    if (c[2] == '5') o = {{WaymoBreakdown::kObjectType, WaymoBreakdown::kRange, WaymoBreakdown::kVelocity, WaymoBreakdown::kSize}, true};
    std::cout << c << "\n";
    Compare(EvaluateWaymo(*frames, o), nlohmann::json::parse(*ReadFile(f + "/expected.json")));
  }
  const std::string d = SharedPath("data/waymo/metrics/");
  auto frames = ReadWaymoEvalFrames(d + "fake_ground_truths.bin", d + "fake_predictions.bin");
  ASSERT_THAT(frames, IsOk());
  Compare(EvaluateWaymo(*frames, {}), nlohmann::json::parse(*ReadFile(SharedPath("golden/waymo/fake_bins/expected.json"))));
}
}  // namespace
}  // namespace kd
