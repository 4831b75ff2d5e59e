"""Everything that the demo's report tells of."""

from dataclasses import dataclass
from typing import Any

from gpvit.demo.experiments.detection import DetectionExperiment
from gpvit.demo.experiments.digits import DigitsExperiment
from gpvit.demo.experiments.run import Run
from gpvit.demo.experiments.segmentation import SegmentationExperiment


@dataclass(frozen=True, eq=False)
class DemoResults:
    """What came of the three trainings.

    Args:
        command: What a shell runs to repeat them.
        digits: Of the classifier that reads digits.
        segmentation: Of the segmenter that labels the pixels of scenes.
        detection: Of the detector that finds digits in scenes.
    """

    command: str
    digits: DigitsExperiment
    segmentation: SegmentationExperiment
    detection: DetectionExperiment

    @property
    def runs(self) -> tuple[Run, Run, Run]:
        """The trainings, in their order."""
        return self.digits.run, self.segmentation.run, self.detection.run

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data for JSON; those of the digits stand at the top."""
        return {
            "command": self.command,
            **self.digits.to_dict(),
            "segmentation": self.segmentation.to_dict(),
            "detection": self.detection.to_dict(),
        }
