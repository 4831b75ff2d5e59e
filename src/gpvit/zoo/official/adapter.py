"""The names of the adapter in the authors' released detectors, turned into ours."""

import re

from gpvit.zoo.official.renaming import Renaming, first_match

_RENAMED: Renaming = (
    (r"level_embed", "level_embed"),
    (r"up", "upsample"),
    (r"spm\.stem\.0", "spatial_prior.stem.0.conv"),
    (r"spm\.stem\.1", "spatial_prior.stem.0.norm"),
    (r"spm\.stem\.3", "spatial_prior.stem.1.conv"),
    (r"spm\.stem\.4", "spatial_prior.stem.1.norm"),
    (r"spm\.stem\.6", "spatial_prior.stem.2.conv"),
    (r"spm\.stem\.7", "spatial_prior.stem.2.norm"),
    # by stride
    (r"spm\.conv(\d+)\.0", r"spatial_prior.down.\1.conv"),
    (r"spm\.conv(\d+)\.1", r"spatial_prior.down.\1.norm"),
    (r"spm\.fc(\d+)", r"spatial_prior.proj.\1"),
    (r"ad_norm(\d+)", r"norms.\1"),
)
_RENAMED_IN_INTERACTION: Renaming = (
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


def rename_in_adapter(name: str) -> str | None:
    """Give an entry beside the transformer its name in a ``ViTAdapter``; None for one of the transformer."""
    name = name.removeprefix("backbone.")
    if part := re.match(r"interactions\.(\d+)\.(injector|extractor|extra_extractors\.(\d+))\.", name):
        # Their extra extractors belong to the last interaction; ours follow the others in one list.
        place = int(part[1]) + (int(part[3]) + 1 if part[3] else 0)
        kind = "injectors" if part[2] == "injector" else "extractors"
        return first_match(_RENAMED_IN_INTERACTION, name[part.end() :], prefix=f"{kind}.{place}.")
    # Theirs are numbered from fine to coarse, ours named by the stride.
    name = re.sub(r"^(spm\.conv|spm\.fc|ad_norm)(\d)", lambda part: f"{part[1]}{2 ** (int(part[2]) + 1)}", name)
    return first_match(_RENAMED, name)
