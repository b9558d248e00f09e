#include "core/pickle_tree.h"

#include <cstring>
#include <unordered_map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"

namespace kd {
namespace {

using Kind = PickleNode::Kind;

constexpr size_t kMaxNodes = 2'000'000;
constexpr int kNewestProtocol = 5;
constexpr size_t kMaxGlobalBytes = 200;
constexpr size_t kShownGlobalBytes = 100;
// Five bytes of a pickle can name a long global once more.
constexpr size_t kMaxBytesOfGlobals = size_t{1} << 24;

// A machine with a stack, as pickle's own, whose calls only leave a note. Every function that pops checks first.
class Unpickler {
 public:
  Unpickler(absl::string_view bytes, absl::FunctionRef<bool(absl::string_view)> may_name)
      : bytes_(bytes), may_name_(may_name) {
    tree_.nodes.emplace_back();
  }

  absl::StatusOr<PickleTree> Run() {
    while (!stopped_) {
      opcode_at_ = at_;
      absl::string_view opcode;
      KD_RETURN_IF_ERROR(Take(1, &opcode));
      KD_RETURN_IF_ERROR(Execute(static_cast<unsigned char>(opcode[0])));
    }
    tree_.bytes = at_;
    return std::move(tree_);
  }

 private:
  absl::Status Fail(absl::string_view problem) const {
    return absl::InvalidArgumentError(absl::StrCat("at byte ", opcode_at_, ": ", problem));
  }

  absl::Status Take(uint64_t count, absl::string_view* taken) {
    if (count > bytes_.size() - at_) return Fail("the pickle ends in the middle");
    *taken = bytes_.substr(at_, count);
    at_ += count;
    return absl::OkStatus();
  }

  // `bytes` of a little-endian number without sign.
  absl::Status TakeNumber(int bytes, uint64_t* number) {
    absl::string_view raw;
    KD_RETURN_IF_ERROR(Take(static_cast<uint64_t>(bytes), &raw));
    *number = 0;
    std::memcpy(number, raw.data(), raw.size());
    return absl::OkStatus();
  }

  absl::Status TakeCounted(int bytes, absl::string_view* taken) {
    uint64_t count;
    KD_RETURN_IF_ERROR(TakeNumber(bytes, &count));
    return Take(count, taken);
  }

  absl::Status TakeLine(absl::string_view* line) {
    const size_t end = bytes_.find('\n', at_);
    if (end == absl::string_view::npos) return Fail("the pickle ends in the middle");
    KD_RETURN_IF_ERROR(Take(end - at_, line));
    ++at_;
    return absl::OkStatus();
  }

  absl::Status Push(PickleNode node) {
    if (tree_.nodes.size() >= kMaxNodes) return Fail(absl::StrCat("more than ", kMaxNodes, " values"));
    stack_.push_back(static_cast<uint32_t>(tree_.nodes.size()));
    tree_.nodes.push_back(std::move(node));
    return absl::OkStatus();
  }
  absl::Status PushNumber(int64_t number) { return Push({.kind = Kind::kInteger, .number = number}); }
  absl::Status PushText(absl::string_view text) { return Push({.kind = Kind::kText, .text = std::string(text)}); }

  // Values above the last mark.
  size_t Available() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }

  absl::Status Pop(uint32_t* value) {
    if (Available() == 0) return Fail("takes a value from an empty stack");
    *value = stack_.back();
    stack_.pop_back();
    return absl::OkStatus();
  }

  absl::Status PopToMark(std::vector<uint32_t>* values) {
    if (marks_.empty()) return Fail("looks for a mark that is not there");
    values->assign(stack_.begin() + static_cast<long>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return absl::OkStatus();
  }

  absl::Status Top(PickleNode** node) {
    if (Available() == 0) return Fail("takes a value from an empty stack");
    *node = &tree_.nodes[stack_.back()];
    return absl::OkStatus();
  }

  absl::Status PushTuple(size_t count) {
    if (Available() < count) return Fail("takes a value from an empty stack");
    PickleNode tuple{.kind = Kind::kSequence};
    tuple.items.assign(stack_.end() - static_cast<long>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return Push(std::move(tuple));
  }

  absl::Status PushMarked() {
    PickleNode sequence{.kind = Kind::kSequence};
    KD_RETURN_IF_ERROR(PopToMark(&sequence.items));
    return Push(std::move(sequence));
  }

  absl::Status AddItems(const std::vector<uint32_t>& items) {
    PickleNode* target;
    KD_RETURN_IF_ERROR(Top(&target));
    if (target->kind != Kind::kSequence && target->kind != Kind::kCall)
      return Fail("adds items to something that is no list");
    // Lists made by a call are nothing that a reader here looks into.
    if (target->kind == Kind::kSequence) target->items.insert(target->items.end(), items.begin(), items.end());
    return absl::OkStatus();
  }

  absl::Status AddEntries(const std::vector<uint32_t>& values) {
    PickleNode* target;
    KD_RETURN_IF_ERROR(Top(&target));
    if (target->kind != Kind::kDict && target->kind != Kind::kCall)
      return Fail("sets entries of something that is no dictionary");
    if (values.size() % 2 != 0) return Fail("sets a key without a value");
    for (size_t i = 0; i < values.size(); i += 2) target->entries.emplace_back(values[i], values[i + 1]);
    return absl::OkStatus();
  }

  absl::Status CheckGlobal(absl::string_view module, absl::string_view name, std::string* full) const {
    *full = absl::StrCat(module.substr(0, kMaxGlobalBytes), ".", name.substr(0, kMaxGlobalBytes));
    if (module.size() <= kMaxGlobalBytes && name.size() <= kMaxGlobalBytes && may_name_(*full)) return absl::OkStatus();
    return Fail(
        absl::StrCat("asks to call ", absl::CHexEscape(full->substr(0, kShownGlobalBytes)), ", which is not data"));
  }

  absl::Status PushGlobal(absl::string_view module, absl::string_view name) {
    PickleNode global{.kind = Kind::kGlobal};
    KD_RETURN_IF_ERROR(CheckGlobal(module, name, &global.text));
    bytes_of_globals_ += global.text.size();
    if (bytes_of_globals_ > kMaxBytesOfGlobals) return Fail("names too many globals");
    return Push(std::move(global));
  }

  absl::Status PushGlobalFromStack() {
    uint32_t name, module;
    KD_RETURN_IF_ERROR(Pop(&name));
    KD_RETURN_IF_ERROR(Pop(&module));
    if (tree_.nodes[name].kind != Kind::kText || tree_.nodes[module].kind != Kind::kText)
      return Fail("names a global by something else than text");
    const std::string module_text = tree_.nodes[module].text, name_text = tree_.nodes[name].text;
    return PushGlobal(module_text, name_text);
  }

  absl::Status Call() {
    uint32_t arguments, callee;
    KD_RETURN_IF_ERROR(Pop(&arguments));
    KD_RETURN_IF_ERROR(Pop(&callee));
    if (tree_.nodes[callee].kind != Kind::kGlobal) return Fail("calls something that is no global");
    if (tree_.nodes[arguments].kind != Kind::kSequence) return Fail("calls with something else than a tuple");
    return Push({.kind = Kind::kCall, .items = {callee, arguments}});
  }

  absl::Status CallWithKeywords() {
    uint32_t keywords;
    KD_RETURN_IF_ERROR(Pop(&keywords));
    return Call();
  }

  absl::Status Build() {
    uint32_t state;
    KD_RETURN_IF_ERROR(Pop(&state));
    PickleNode* target;
    KD_RETURN_IF_ERROR(Top(&target));
    target->state = state;
    return absl::OkStatus();
  }

  absl::Status PushPersistent() {
    uint32_t id;
    KD_RETURN_IF_ERROR(Pop(&id));
    return Push({.kind = Kind::kPersistent, .items = {id}});
  }

  absl::Status Memoize(uint64_t number) {
    if (Available() == 0) return Fail("takes a value from an empty stack");
    memo_[number] = stack_.back();
    return absl::OkStatus();
  }

  absl::Status PushMemo(uint64_t number) {
    const auto found = memo_.find(number);
    if (found == memo_.end()) return Fail(absl::StrCat("asks for value ", number, ", which was never kept"));
    if (stack_.size() >= kMaxNodes) return Fail(absl::StrCat("more than ", kMaxNodes, " values"));
    stack_.push_back(found->second);
    return absl::OkStatus();
  }

  absl::Status PopOrDropMark() {
    if (Available() > 0) {
      stack_.pop_back();
    } else if (!marks_.empty()) {
      marks_.pop_back();
    } else {
      return Fail("takes a value from an empty stack");
    }
    return absl::OkStatus();
  }

  // Two's complement, little-endian.
  absl::Status PushLong(absl::string_view raw) {
    if (raw.size() > sizeof(int64_t)) return Push({});
    uint64_t number = !raw.empty() && (raw.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
    std::memcpy(&number, raw.data(), raw.size());
    return PushNumber(static_cast<int64_t>(number));
  }

  absl::Status Execute(unsigned char opcode);

  const absl::string_view bytes_;
  const absl::FunctionRef<bool(absl::string_view)> may_name_;
  size_t at_ = 0, opcode_at_ = 0, bytes_of_globals_ = 0;
  bool stopped_ = false;
  PickleTree tree_;
  std::vector<uint32_t> stack_;
  // Sizes of the stack when a mark was set.
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, uint32_t> memo_;
};

// The numbers are those of Python's pickletools.
absl::Status Unpickler::Execute(unsigned char opcode) {
  absl::string_view raw, line;
  uint64_t number = 0;
  std::vector<uint32_t> values;
  switch (opcode) {
    case 0x80:  // PROTO
      KD_RETURN_IF_ERROR(TakeNumber(1, &number));
      return number <= kNewestProtocol ? absl::OkStatus() : Fail(absl::StrCat("protocol ", number, " is not known"));
    case 0x95:  // FRAME
      return TakeNumber(8, &number);
    case '.': {  // STOP
      stopped_ = true;
      return Pop(&tree_.root);
    }
    case '(':  // MARK
      if (marks_.size() >= kMaxNodes) return Fail(absl::StrCat("more than ", kMaxNodes, " marks"));
      marks_.push_back(stack_.size());
      return absl::OkStatus();
    case '0':  // POP
      return PopOrDropMark();
    case '1':  // POP_MARK
      return PopToMark(&values);
    case 'N':   // NONE
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      return Push({});
    case 'G':  // BINFLOAT
      KD_RETURN_IF_ERROR(Take(8, &raw));
      return Push({});
    case 'J':  // BININT
      KD_RETURN_IF_ERROR(TakeNumber(4, &number));
      return PushNumber(static_cast<int32_t>(number));
    case 'K':  // BININT1
      KD_RETURN_IF_ERROR(TakeNumber(1, &number));
      return PushNumber(static_cast<int64_t>(number));
    case 'M':  // BININT2
      KD_RETURN_IF_ERROR(TakeNumber(2, &number));
      return PushNumber(static_cast<int64_t>(number));
    case 0x8a:  // LONG1
    case 0x8b:  // LONG4
      KD_RETURN_IF_ERROR(TakeCounted(opcode == 0x8a ? 1 : 4, &raw));
      return PushLong(raw);
    case 0x8c:  // SHORT_BINUNICODE
    case 'U':   // SHORT_BINSTRING
      KD_RETURN_IF_ERROR(TakeCounted(1, &raw));
      return PushText(raw);
    case 'X':  // BINUNICODE
    case 'T':  // BINSTRING
      KD_RETURN_IF_ERROR(TakeCounted(4, &raw));
      return PushText(raw);
    case 0x8d:  // BINUNICODE8
      KD_RETURN_IF_ERROR(TakeCounted(8, &raw));
      return PushText(raw);
    case 'C':   // SHORT_BINBYTES
    case 'B':   // BINBYTES
    case 0x8e:  // BINBYTES8
      KD_RETURN_IF_ERROR(TakeCounted(opcode == 'C' ? 1 : opcode == 'B' ? 4 : 8, &raw));
      return Push({});
    case ')':   // EMPTY_TUPLE
    case ']':   // EMPTY_LIST
    case 0x8f:  // EMPTY_SET
      return Push({.kind = Kind::kSequence});
    case 0x85:  // TUPLE1
    case 0x86:  // TUPLE2
    case 0x87:  // TUPLE3
      return PushTuple(opcode - 0x84u);
    case 't':   // TUPLE
    case 'l':   // LIST
    case 0x91:  // FROZENSET
      return PushMarked();
    case '}':  // EMPTY_DICT
      return Push({.kind = Kind::kDict});
    case 'd':  // DICT
      KD_RETURN_IF_ERROR(PopToMark(&values));
      KD_RETURN_IF_ERROR(Push({.kind = Kind::kDict}));
      return AddEntries(values);
    case 'a':  // APPEND
      values.resize(1);
      KD_RETURN_IF_ERROR(Pop(&values[0]));
      return AddItems(values);
    case 'e':   // APPENDS
    case 0x90:  // ADDITEMS
      KD_RETURN_IF_ERROR(PopToMark(&values));
      return AddItems(values);
    case 's':  // SETITEM
      values.resize(2);
      KD_RETURN_IF_ERROR(Pop(&values[1]));
      KD_RETURN_IF_ERROR(Pop(&values[0]));
      return AddEntries(values);
    case 'u':  // SETITEMS
      KD_RETURN_IF_ERROR(PopToMark(&values));
      return AddEntries(values);
    case 'q':  // BINPUT
    case 'r':  // LONG_BINPUT
      KD_RETURN_IF_ERROR(TakeNumber(opcode == 'q' ? 1 : 4, &number));
      return Memoize(number);
    case 0x94:  // MEMOIZE
      return Memoize(memo_.size());
    case 'h':  // BINGET
    case 'j':  // LONG_BINGET
      KD_RETURN_IF_ERROR(TakeNumber(opcode == 'h' ? 1 : 4, &number));
      return PushMemo(number);
    case 'c':  // GLOBAL
      KD_RETURN_IF_ERROR(TakeLine(&raw));
      KD_RETURN_IF_ERROR(TakeLine(&line));
      return PushGlobal(raw, line);
    case 0x93:  // STACK_GLOBAL
      return PushGlobalFromStack();
    case 'R':   // REDUCE
    case 0x81:  // NEWOBJ
      return Call();
    case 0x92:  // NEWOBJ_EX
      return CallWithKeywords();
    case 'b':  // BUILD
      return Build();
    case 'Q':  // BINPERSID
      return PushPersistent();
    case 'i': {  // INST, of protocol 0, named here because its global is what the reader wants to know.
      std::string ignored;
      KD_RETURN_IF_ERROR(TakeLine(&raw));
      KD_RETURN_IF_ERROR(TakeLine(&line));
      KD_RETURN_IF_ERROR(CheckGlobal(raw, line, &ignored));
      break;
    }
    default:
      break;
  }
  return Fail(absl::StrFormat("opcode 0x%02x is none that data are pickled with", static_cast<unsigned>(opcode)));
}

}  // namespace

absl::StatusOr<PickleTree> ParsePickle(absl::string_view bytes, absl::FunctionRef<bool(absl::string_view)> may_name) {
  return Unpickler(bytes, may_name).Run();
}

}  // namespace kd
