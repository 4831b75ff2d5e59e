"""Prints what an exported model says about images: ``python -m gpvit.runtime MODEL IMAGE ...``."""

import argparse
import json
import sys

from gpvit.errors import UserError
from gpvit.runtime.predictor import Predictor
from gpvit.runtime.results import Objects


def main() -> int:
    """Print a line of JSON for each image; what a user can mend is said without a traceback."""
    parser = argparse.ArgumentParser(prog="python -m gpvit.runtime", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("model", help="an .onnx or .xml that `gpvit export` wrote")
    parser.add_argument("images", nargs="+", help="files of images")
    parser.add_argument("--score", type=float, default=0.5, help="minimum score of an object (default 0.5)")
    arguments = parser.parse_args()
    try:
        predictor = Predictor(arguments.model)
        for image in arguments.images:
            result = predictor(image)
            result = result.filtered(arguments.score) if isinstance(result, Objects) else result
            print(json.dumps({"source": image, **result.to_dict()}), flush=True)
    except (UserError, OSError) as error:
        print(f"gpvit.runtime: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
