"""Makes tests/golden/recurrent_*.safetensors: one layer's mixer branch, x + Mixer(RMSNorm(x)), with the mixers of Hugging
Face transformers, fp32, their reference paths in plain PyTorch.

    pip install torch transformers
    python3 tests/model/make_recurrent_golden.py

Each file holds the weights under the names of our checkpoints (those of the module, with its place in the model before
them), x, y, a random dy, dx and the gradients of the parameters (of mamba2, to keep the file small, of those that are no
projections). The norm around the module is written out here, so that the module itself sees what Hugging Face's models
give it.

recurrent_bamba is a whole (mamba2 full)*2 in BambaForCausalLM: weights under our names, tokens and logits. Bamba turns half
of each head by default; here partial_rotary_factor is 1, as in our full layers (it has no layers without rotation).
"""
import json

import torch
import transformers
from transformers.models.bamba.modeling_bamba import BambaConfig, BambaForCausalLM
from transformers.models.mamba2.modeling_mamba2 import Mamba2Config, Mamba2Mixer
from transformers.models.minimax.modeling_minimax import MiniMaxConfig, MiniMaxLightningAttention
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextConfig, Qwen3NextGatedDeltaNet

from make_golden import GOLDEN, rms_norm, write_safetensors

torch.set_default_dtype(torch.float32)


def gdn(c):
    config = Qwen3NextConfig(
        hidden_size=c["d_model"], num_hidden_layers=4, linear_num_value_heads=c["heads"],
        linear_num_key_heads=c["heads"], linear_key_head_dim=c["head_dim"], linear_value_head_dim=c["head_dim"],
        linear_conv_kernel_dim=4, rms_norm_eps=1e-6, hidden_act="silu")
    return Qwen3NextGatedDeltaNet(config, 0), "linear_attn.", lambda module, h: module(h)


def mamba2(c):
    d = c["d_model"]
    config = Mamba2Config(
        hidden_size=d, num_heads=2 * d // 64, head_dim=64, state_size=64, expand=2, n_groups=1, conv_kernel=4,
        use_conv_bias=True, use_bias=False, layer_norm_epsilon=1e-6, chunk_size=16, num_hidden_layers=2,
        time_step_limit=(0.0, float("inf")), hidden_act="silu")
    return Mamba2Mixer(config, 0), "mamba.", lambda module, h: module(h)


def lightning(c):
    config = MiniMaxConfig(
        hidden_size=c["d_model"], num_attention_heads=c["heads"], num_key_value_heads=c["heads"],
        head_dim=c["head_dim"], num_hidden_layers=c["layers"], block_size=16, hidden_act="silu",
        layer_types=["linear_attention"] * c["layers"])
    return (MiniMaxLightningAttention(config, c["layer"]), "self_attn.",
            lambda module, h: module(h, position_embeddings=None, attention_mask=None)[0])


def randomise(module, generator):
    """Numbers of the size that a trained model has, none of them special; decays from slow to strong."""
    for name, p in module.named_parameters():
        last = name.split(".")[-1]
        noise = torch.randn(p.shape, generator=generator)
        if last == "A_log":
            value = torch.log(0.3 + 8 * torch.rand(p.shape, generator=generator))
        elif last == "dt_bias":
            value = noise - 2
        elif last == "D" or name.endswith("norm.weight"):
            value = 1 + 0.3 * noise
        elif name.endswith("conv1d.weight"):
            value = 0.5 * noise
        elif name.endswith("conv1d.bias"):
            value = 0.3 * noise
        else:
            value = 1.2 * noise * p.shape[-1] ** -0.5
        p.data.copy_(value)


def make(name, seed, build, c, projections=True):
    generator = torch.Generator().manual_seed(seed)
    module, prefix, call = build(c)
    module.eval()
    randomise(module, generator)
    layer = f"model.layers.{c['layer']}."
    norm = (1 + 0.2 * torch.randn(c["d_model"], generator=generator)).requires_grad_()
    x = torch.randn(c["batch"], c["context"], c["d_model"], generator=generator, requires_grad=True)
    y = x + call(module, rms_norm(x, norm))
    dy = torch.randn(y.shape, generator=generator)
    y.backward(dy)
    weights = {layer + prefix + n: p for n, p in module.named_parameters()}
    weights[layer + "input_layernorm.weight"] = norm
    tensors = {n: p.detach() for n, p in weights.items()}
    for n, p in weights.items():
        if projections or p.dim() != 2:
            tensors["grad." + n] = p.grad
            assert p.grad.abs().sum() > 0, n
    tensors |= {"x": x.detach(), "y": y.detach(), "dy": dy, "dx": x.grad}
    assert all(t.dtype == torch.float32 for t in tensors.values())
    path = GOLDEN / f"recurrent_{name}.safetensors"
    config = {**c, "transformers": transformers.__version__, "torch": torch.__version__}
    write_safetensors(path, tensors, {"config": json.dumps(config), "recipe": "{}"})
    print(name, path.stat().st_size, "bytes; |mixer| / |x|", ((y - x).norm() / x.norm()).item())


OUR_NAMES = {"feed_forward.": "mlp.", "pre_ff_layernorm.": "post_attention_layernorm.", "final_layernorm.": "norm."}


def make_bamba(seed, c):
    generator = torch.Generator().manual_seed(seed)
    d = c["d_model"]
    model = BambaForCausalLM(BambaConfig(
        vocab_size=c["vocab"], hidden_size=d, intermediate_size=c["ffn"], num_hidden_layers=c["layers"],
        num_attention_heads=c["heads"], num_key_value_heads=c["kv_heads"], attn_layer_indices=c["full"],
        mamba_n_heads=2 * d // 64, mamba_d_head=64, mamba_d_state=64, mamba_n_groups=1, mamba_chunk_size=16,
        rms_norm_eps=1e-6, pad_token_id=None, tie_word_embeddings=False, max_position_embeddings=c["context"],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0})).eval()
    randomise(model, generator)
    tokens = torch.randint(c["vocab"], (c["batch"], c["context"]), generator=generator)
    with torch.no_grad():
        logits = model(input_ids=tokens, logits_to_keep=0).logits
    tensors = {}
    for name, p in model.named_parameters():
        for theirs, ours in OUR_NAMES.items():
            name = name.replace(theirs, ours)
        tensors[name] = p.detach()
    tensors |= {"tokens": tokens.int(), "logits": logits}
    path = GOLDEN / "recurrent_bamba.safetensors"
    config = {**c, "transformers": transformers.__version__, "torch": torch.__version__}
    write_safetensors(path, tensors, {"config": json.dumps(config), "recipe": "{}"})
    print("bamba", path.stat().st_size, "bytes; logits", logits.std().item())


if __name__ == "__main__":
    # More tokens than a chunk, and no multiple of one; w other than d_model; an odd number of heads.
    make("gdn", 1, gdn, {"mixer": "gdn", "layer": 0, "layers": 1, "d_model": 24, "heads": 3, "head_dim": 16, "batch": 1,
                         "context": 150})
    # Two heads; then more tokens than our chunk of 256.
    make("mamba2", 2, mamba2, {"mixer": "mamba2", "layer": 0, "layers": 1, "d_model": 64, "heads": 1, "head_dim": 64,
                               "batch": 2, "context": 19}, projections=False)
    make("mamba2_long", 3, mamba2, {"mixer": "mamba2", "layer": 0, "layers": 1, "d_model": 32, "heads": 1,
                                    "head_dim": 32, "batch": 1, "context": 261}, projections=False)
    # The second of three layers: its slopes are neither the first's nor the last's.
    make("lightning", 4, lightning, {"mixer": "lightning", "layer": 1, "layers": 3, "d_model": 24, "heads": 3,
                                     "head_dim": 16, "batch": 1, "context": 150})
    make_bamba(5, {"layout": "(mamba2 full)*2", "layers": 4, "full": [1, 3], "d_model": 32, "heads": 2, "kv_heads": 1,
                   "head_dim": 16, "ffn": 24, "vocab": 29, "context": 40, "batch": 2})
