"""Trains timm's ResNet-18 on a recipe's data, in a loop of one's own: `python -m benchmarks.resnet18 IMAGES [SEED]`."""

import sys

import timm
import torch

from gpvit.train.recipes import read_recipe


def main(images: str, seed: str = "0") -> None:
    """Train for as many epochs as the small recipe, with its batches, and print the accuracy after the last one."""
    recipe = read_recipe(["recipes/folder/small/classify.yaml", "--data.root", images])
    torch.manual_seed(int(seed))
    data = recipe.create_data()
    data.setup("fit")
    model = timm.create_model("resnet18", num_classes=data.num_classes)
    loader, epochs = data.train_dataloader(), recipe.config.epochs or 1
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-4, total_steps=steps, pct_start=0.1)
    for _ in range(epochs):
        for inputs, labels in loader:
            torch.nn.functional.cross_entropy(model(inputs), labels, label_smoothing=0.1).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    with torch.inference_mode():
        right = torch.cat([model(inputs).argmax(1) == labels for inputs, labels in data.val_dataloader()])
    print(f"top-1 {right.float().mean():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
