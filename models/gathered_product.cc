#include "models/gathered_product.h"

namespace kd {
namespace {

using torch::Tensor;

// Kernel positions (kz, ky, kx) as K x 1 columns.
struct Positions {
  Tensor z, y, x;
};
Positions PositionsOf(const ConvGeometry& g, const Tensor& like) {
  const Tensor position = torch::arange(g.volume(), like.options()).unsqueeze(1);
  const Tensor line = torch::div(position, g.kernel[2], "floor");
  return {.z = torch::div(line, g.kernel[1], "floor"),
          .y = line.remainder(g.kernel[1]),
          .x = position.remainder(g.kernel[2])};
}

Tensor Within(const Tensor& z, const Tensor& y, const Tensor& x, const SparseShape& shape) {
  const auto axis = [](const Tensor& at, int64_t extent) { return (at >= 0).logical_and_(at < extent); };
  return axis(z, shape[0]).logical_and_(axis(y, shape[1])).logical_and_(axis(x, shape[2]));
}

Tensor KeysOf(const Tensor& frame, const Tensor& z, const Tensor& y, const Tensor& x, const SparseShape& shape) {
  return ((frame * shape[0] + z) * shape[1] + y) * shape[2] + x;
}

// Weights as positions x Cin x Cout, and back.
Tensor ByPosition(const GatheredProduct& p, const Tensor& weight) {
  const auto volume = static_cast<int64_t>(p.rows.in.size());
  if (volume == 1) return weight.view({1, p.in_channels, p.out_channels});
  return weight.view({p.out_channels, volume, p.in_channels}).permute({1, 2, 0});
}
Tensor AsStored(const Tensor& by_position, const Tensor& like) {
  return (by_position.size(0) == 1 ? by_position : by_position.permute({2, 0, 1})).reshape(like.sizes());
}

// Adds input rows times weights (positions x from x to) to the output's rows. A position feeds a row once at most, so
// the order of additions is fixed.
void AddProducts(const std::vector<Tensor>& from, const std::vector<Tensor>& to, const Tensor& input,
                 const Tensor& weights, Tensor& output) {
  for (size_t position = 0; position < from.size(); ++position) {
    // Autocast may have narrowed the product.
    const Tensor product = input.index_select(0, from[position]).matmul(weights[static_cast<int64_t>(position)]);
    output.index_add_(0, to[position], product.to(output.scalar_type()));
  }
}

}  // namespace

PositionRows FindPairs(const SiteKeys& input, const SiteKeys& output, const ConvGeometry& g) {
  PositionRows rows{.num_in = input.keys.size(0), .num_out = output.keys.size(0)};
  if (rows.num_in == 0 || rows.num_out == 0) {
    rows.in.assign(g.volume(), torch::empty({0}, input.keys.options()));
    rows.out = rows.in;
    return rows;
  }
  const SiteColumns out = ColumnsOf(output);
  const Positions kernel = PositionsOf(g, input.keys);
  // positions x outputs: the site that a position reads.
  const Tensor z = out.z * g.stride[0] - g.padding[0] + kernel.z;
  const Tensor y = out.y * g.stride[1] - g.padding[1] + kernel.y;
  const Tensor x = out.x * g.stride[2] - g.padding[2] + kernel.x;
  const Tensor wanted = KeysOf(out.frame, z, y, x, input.shape);
  const Tensor found = torch::searchsorted(input.keys, wanted).clamp_max_(rows.num_in - 1).flatten();
  const Tensor there = input.keys.index_select(0, found).view_as(wanted) == wanted;
  const Tensor places = torch::nonzero(there.logical_and(Within(z, y, x, input.shape)).flatten()).squeeze(1);
  const Tensor position = torch::div(places, rows.num_out, "floor");
  const Tensor counts = torch::bincount(position, {}, g.volume()).cpu();
  const std::vector<int64_t> sizes(counts.data_ptr<int64_t>(), counts.data_ptr<int64_t>() + counts.size(0));
  rows.in = found.index_select(0, places).split_with_sizes(sizes);
  rows.out = places.remainder(rows.num_out).split_with_sizes(sizes);
  return rows;
}

SiteKeys Convolved(const SiteKeys& input, const ConvGeometry& g) {
  SiteKeys output{.batch = input.batch, .shape = g.OutputShape(input.shape)};
  const SiteColumns in = ColumnsOf(input);
  const Positions kernel = PositionsOf(g, input.keys);
  const auto steps = [&](const Tensor& column, int axis, const Tensor& position) {
    return column + g.padding[axis] - position;
  };
  const Tensor z = steps(in.z, 0, kernel.z), y = steps(in.y, 1, kernel.y), x = steps(in.x, 2, kernel.x);
  const auto on_step = [&](const Tensor& t, int axis) { return t.remainder(g.stride[axis]) == 0; };
  const auto divided = [&](const Tensor& t, int axis) { return torch::div(t, g.stride[axis], "floor"); };
  const Tensor oz = divided(z, 0), oy = divided(y, 1), ox = divided(x, 2);
  const Tensor reached = on_step(z, 0).logical_and_(on_step(y, 1)).logical_and_(on_step(x, 2));
  const Tensor keys = KeysOf(in.frame, oz, oy, ox, output.shape);
  output.keys = std::get<0>(at::_unique2(keys.masked_select(reached.logical_and(Within(oz, oy, ox, output.shape)))));
  return output;
}

Tensor GatheredProduct::Forward(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias) const {
  Tensor output = torch::zeros({rows.num_out, out_channels}, features.options());
  if (bias) output += *bias;
  AddProducts(rows.in, rows.out, features, ByPosition(*this, weight), output);
  return output;
}

Tensor GatheredProduct::InputGradient(const Tensor& gradient, const Tensor& weight) const {
  Tensor output = torch::zeros({rows.num_in, in_channels}, gradient.options());
  AddProducts(rows.out, rows.in, gradient, ByPosition(*this, weight).transpose(1, 2), output);
  return output;
}

Tensor GatheredProduct::WeightGradient(const Tensor& features, const Tensor& gradient, const Tensor& weight) const {
  std::vector<Tensor> by_position;
  for (size_t position = 0; position < rows.in.size(); ++position) {
    const Tensor in = features.index_select(0, rows.in[position]), out = gradient.index_select(0, rows.out[position]);
    by_position.push_back(in.t().matmul(out).to(weight.scalar_type()));
  }
  return AsStored(torch::stack(by_position), weight);
}

}  // namespace kd
