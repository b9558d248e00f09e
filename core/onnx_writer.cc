#include "core/onnx_writer.h"

#include <cstring>
#include <utility>

namespace kd {
namespace {

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

}  // namespace

void OnnxWriter::Describe(const GraphTensor& tensor, onnx::ValueInfoProto& info) {
  info.set_name(tensor.name);
  auto* const type = info.mutable_type()->mutable_tensor_type();
  type->set_elem_type(tensor.dtype == "I32" ? onnx::TensorProto::INT32 : onnx::TensorProto::FLOAT);
  for (const int64_t extent : tensor.shape) {
    auto* const dimension = type->mutable_shape()->add_dim();
    if (extent < 0) dimension->set_dim_param(tensor.rows);
    if (extent >= 0) dimension->set_dim_value(extent);
  }
}

void OnnxWriter::AddTensor(const std::string& name, onnx::TensorProto::DataType type, const std::vector<int64_t>& shape,
                           std::string bytes) {
  onnx::TensorProto& tensor = *out_.add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (const int64_t extent : shape) tensor.add_dims(extent);
  tensor.set_raw_data(std::move(bytes));
}

std::string OnnxWriter::Weight(const std::string& name) {
  if (written_weights_.insert(name).second) {
    const SafeTensor& tensor = graph_.weights.at(name);
    AddTensor(name, onnx::TensorProto::FLOAT, tensor.shape, tensor.bytes);
  }
  return name;
}

std::string OnnxWriter::Transposed(const std::string& name, const std::string& output) {
  const SafeTensor& matrix = graph_.weights.at(name);
  const size_t rows = static_cast<size_t>(matrix.shape[0]), columns = static_cast<size_t>(matrix.shape[1]);
  std::string turned(matrix.bytes.size(), '\0');
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      std::memcpy(&turned[(c * rows + r) * sizeof(float)], &matrix.bytes[(r * columns + c) * sizeof(float)],
                  sizeof(float));
    }
  }
  AddTensor(output, onnx::TensorProto::FLOAT, {matrix.shape[1], matrix.shape[0]}, std::move(turned));
  return output;
}

std::string OnnxWriter::Int32Row(const std::string& name, const std::vector<int32_t>& int32s) {
  AddTensor(name, onnx::TensorProto::INT32, {1, static_cast<int64_t>(int32s.size())}, Bytes(int32s));
  return name;
}

std::string OnnxWriter::Integers(const std::string& name, const std::vector<int64_t>& values) {
  AddTensor(name, onnx::TensorProto::INT64, {static_cast<int64_t>(values.size())}, Bytes(values));
  return name;
}

std::string OnnxWriter::Floats(const std::string& name, const std::vector<float>& values) {
  AddTensor(name, onnx::TensorProto::FLOAT, {static_cast<int64_t>(values.size())}, Bytes(values));
  return name;
}

std::string OnnxWriter::Op(const char* type, const std::vector<std::string>& inputs, const std::string& output,
                           const Lists& lists, const Scalars& scalars) {
  onnx::NodeProto& node = *out_.add_node();
  node.set_op_type(type);
  node.set_name(output);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  for (const auto& [name, values] : lists) {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::INTS);
    for (const int64_t value : values) attribute.add_ints(value);
  }
  for (const auto& [name, value] : scalars) {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::INT);
    attribute.set_i(value);
  }
  return output;
}

std::string OnnxWriter::Cast(const std::string& input, const std::string& output, onnx::TensorProto::DataType to) {
  return Op("Cast", {input}, output, {}, {{"to", to}});
}

std::string OnnxWriter::Unsqueeze(const std::string& input, const std::string& output,
                                  const std::vector<int64_t>& axes) {
  return Op("Unsqueeze", {input, Integers(output + "_axes", axes)}, output);
}

}  // namespace kd
