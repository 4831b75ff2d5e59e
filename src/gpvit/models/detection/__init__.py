"""Object detection and instance segmentation: Mask R-CNN and RetinaNet, from torchvision's parts where these fit."""
