// Scores as a person reads them.
#ifndef KD_EVAL_METRICS_TABLE_H_
#define KD_EVAL_METRICS_TABLE_H_

#include <map>
#include <string>

namespace kd {

// The scores that Scorer::Finish() answers. First those that stand alone, by their names; then a table for each measure
// that has many, where a score's name is measure, row and column with '/' between:
//   center_distance/mAP      61.2345
//
//   lidar               all        0-30m       30-50m         50m+
//   Car/3d@0.5        71.20        80.01        60.11            -
std::string MetricsToTable(const std::map<std::string, double>& metrics);

}  // namespace kd

#endif  // KD_EVAL_METRICS_TABLE_H_
