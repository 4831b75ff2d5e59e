"""The names of the adapter in the authors' released detectors, turned into ours."""

import re

import torch

from gpvit.models.official import convert_official

# Alternated in this order; a group's number stands for what it matched.
_RENAMED: tuple[tuple[str, str], ...] = (
    (r"level_embed", "level_embed"),
    (r"up", "upsample"),
    (r"spm\.stem\.0", "spatial_prior.stem.0.conv"),
    (r"spm\.stem\.1", "spatial_prior.stem.0.norm"),
    (r"spm\.stem\.3", "spatial_prior.stem.1.conv"),
    (r"spm\.stem\.4", "spatial_prior.stem.1.norm"),
    (r"spm\.stem\.6", "spatial_prior.stem.2.conv"),
    (r"spm\.stem\.7", "spatial_prior.stem.2.norm"),
)
# Theirs are numbered from fine to coarse, ours named by the stride.
_RENAMED_BY_SCALE: tuple[tuple[str, str], ...] = (
    (r"spm\.conv(\d)\.0", "spatial_prior.down.{stride}.conv"),
    (r"spm\.conv(\d)\.1", "spatial_prior.down.{stride}.norm"),
    (r"spm\.fc(\d)", "spatial_prior.proj.{stride}"),
    (r"ad_norm(\d)", "norms.{stride}"),
)
_RENAMED_IN_INTERACTION: tuple[tuple[str, str], ...] = (
    (r"gamma", "gamma"),
    (r"query_norm", "norm_query"),
    (r"feat_norm", "norm_key"),
    (r"attn\.sampling_offsets", "attn.offsets"),
    (r"attn\.attention_weights", "attn.weights"),
    (r"attn\.value_proj", "attn.value"),
    (r"attn\.output_proj", "attn.proj"),
    (r"ffn_norm", "mlp.norm"),
    (r"ffn\.(fc1|fc2)", r"mlp.\1"),
    (r"ffn\.dwconv\.dwconv", "mlp.conv"),
)
_LEAF = r"(\.(?:weight|bias|running_mean|running_var|num_batches_tracked))?$"


def convert_adapter(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the ``backbone.*`` entries of an official detector the names and shapes of a ``ViTAdapter``.

    Raises:
        ValueError: If an entry has no counterpart; all such entries are listed.
    """
    converted, transformer = {}, {}
    for name, tensor in state_dict.items():
        if new := _rename(name.removeprefix("backbone.")):
            converted[new] = tensor
        else:
            transformer[name] = tensor
    return converted | {f"backbone.{name}": tensor for name, tensor in convert_official(transformer).items()}


def _rename(name: str) -> str | None:
    if part := re.match(r"interactions\.(\d+)\.(injector|extractor|extra_extractors\.(\d+))\.", name):
        # Their extra extractors belong to the last interaction; ours follow the others in one list.
        place = int(part[1]) + (int(part[3]) + 1 if part[3] else 0)
        kind = "injectors" if part[2] == "injector" else "extractors"
        return _first(_RENAMED_IN_INTERACTION, name[part.end() :], prefix=f"{kind}.{place}.")
    for pattern, replacement in _RENAMED_BY_SCALE:
        if match := re.match(pattern + _LEAF, name):
            return replacement.format(stride=2 ** (int(match[1]) + 1)) + match[2]
    return _first(_RENAMED, name)


def _first(table: tuple[tuple[str, str], ...], name: str, prefix: str = "") -> str | None:
    for pattern, replacement in table:
        if match := re.match(pattern + _LEAF, name):
            return prefix + match.expand(replacement) + (match[match.re.groups] or "")
    return None
