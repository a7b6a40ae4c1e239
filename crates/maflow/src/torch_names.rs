//! The parameters of the ridge potential under our names and under those of a PyTorch module with two linear layers.

/// Our name and PyTorch's.
pub const NAMES: [(&str, &str); 3] = [("weight", "fc1.weight"), ("bias", "fc1.bias"), ("amplitude", "fc2.weight")];

/// The shape that PyTorch gives to one of our parameters: amplitudes are a layer with one output, `[1, h]`,
/// or with one output for each term of their time dependence.
pub fn torch_shape(ours: &str, shape: &[usize]) -> Vec<usize> {
    match (ours, shape) {
        ("amplitude", [hidden]) => vec![1, *hidden],
        _ => shape.to_vec(),
    }
}
