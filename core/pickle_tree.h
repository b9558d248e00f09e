// Python's pickles, read as data: what one asks to import or to call is written down here, never done.
#ifndef KD_CORE_PICKLE_TREE_H_
#define KD_CORE_PICKLE_TREE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

// Values name each other by number, so that neither cycles nor deep nesting cost anything: a pickle may share and nest
// as it likes, and whoever walks the tree bounds the walk.
struct PickleNode {
  enum class Kind {
    kOther,     // None, truth values, floats, bytes, integers beyond 64 bits
    kInteger,   // number
    kText,      // text
    kSequence,  // items: of a tuple, list or set
    kDict,      // entries
    kGlobal,    // text: "module.name"
    kCall,  // items[0]: whom, a global; items[1]: the arguments; entries: set afterwards; state: handed over afterwards
    kPersistent,  // items[0]: the identifier of something outside the pickle
  };
  Kind kind = Kind::kOther;
  int64_t number = 0;
  std::string text;
  std::vector<uint32_t> items;
  // In the pickle's order; equal keys may repeat.
  std::vector<std::pair<uint32_t, uint32_t>> entries;
  // A node, or 0 for none.
  uint32_t state = 0;
};

struct PickleTree {
  // Node 0 is None.
  std::vector<PickleNode> nodes;
  uint32_t root = 0;
  // Of the pickle, its end included; what follows was not looked at.
  size_t bytes = 0;
};

// Protocols 2 to 5. `may_name` says which globals ("collections.OrderedDict") a pickle may name; they are not looked
// up. INVALID_ARGUMENT: "at byte N: ...": another global (quoted), an opcode that those who pickle data do not write, a
// stack that does not fit, an end before the end, more than 2 million values.
absl::StatusOr<PickleTree> ParsePickle(absl::string_view bytes, absl::FunctionRef<bool(absl::string_view)> may_name);

}  // namespace kd

#endif  // KD_CORE_PICKLE_TREE_H_
