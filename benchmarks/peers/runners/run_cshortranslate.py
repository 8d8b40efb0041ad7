"""cshortranslate with the models in RapidOCR's wheel: ``VIDEO OUTPUT`` and its own options."""

import sys

from cshortranslate import cli, ocr_engine

ocr_engine._PPOCRV5_MOBILE_PARAMS.clear()
video, output, *options = sys.argv[1:]
sys.argv = ["cshortranslate", video, "--output", output, *options]
cli.main()
