#include "eval/metrics_table.h"

#include "gtest/gtest.h"

namespace kd {
namespace {

TEST(MetricsTableTest, ScoresOfOneMeasureStandInOneTableAndOthersAlone) {
  EXPECT_EQ(MetricsToTable({{"center_distance/mAP", 61.23456},
                            {"lidar/Car/3d@0.5/0-30m", 80.5},
                            {"lidar/Car/3d@0.5/all", 71.2},
                            {"lidar/Car/bev@0.5/50m+", 0},
                            {"lidar/mAP", 71.2}}),
            "center_distance/mAP      61.2346\n"
            "lidar/mAP                71.2000\n"
            "\n"
            "lidar                all        0-30m       30-50m         50m+\n"
            "Car/3d@0.5         71.20        80.50            -            -\n"
            "Car/bev@0.5            -            -            -         0.00\n");
}

TEST(MetricsTableTest, EveryDifficultyOfKittiHasAColumn) {
  EXPECT_EQ(
      MetricsToTable({{"kitti/Car/3d/easy/R40", 90}, {"kitti/Car/3d/hard/R40", 70}, {"kitti/Car/3d/moderate/R40", 80}}),
      "kitti      easy/R40 moderate/R40     hard/R40\n"
      "Car/3d        90.00        80.00        70.00\n");
}

TEST(MetricsTableTest, MeansOfWaymoAndErrorsOfNuscenesStandAlone) {
  EXPECT_EQ(MetricsToTable({{"waymo/Vehicle/L2/APH", 41}, {"waymo/mAPH/L2", 40}}),
            "waymo/mAPH/L2      40.0000\n"
            "\n"
            "waymo          L1/AP       L1/APH        L2/AP       L2/APH\n"
            "Vehicle            -            -            -        41.00\n");
  EXPECT_EQ(MetricsToTable({{"nuscenes/NDS", 50.5}, {"nuscenes/car/AP", 60}, {"nuscenes/trans_err", 0.3125}}),
            "nuscenes/NDS            50.5000\n"
            "nuscenes/trans_err       0.3125\n"
            "\n"
            "nuscenes           AP\n"
            "car             60.00\n");
}

TEST(MetricsTableTest, AClassMayBeCalledLikeAColumn) {
  EXPECT_EQ(MetricsToTable({{"center_distance/AP", 1}}), "center_distance/AP       1.0000\n");
  EXPECT_EQ(MetricsToTable({}), "");
}

}  // namespace
}  // namespace kd
