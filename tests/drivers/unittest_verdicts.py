"""Runs a driver's own suite, which must use unittest, and says of each test how it went.

    unittest_verdicts.py FOLDER [TEST...]

FOLDER holds the package `tests`. Where the database is stands in the environment (PGHOST and so on). Prints one line
for each test, `ok NAME`, `skipped NAME` or `failed NAME`; why it failed goes to stderr.
"""

import os
import sys
import unittest


class Verdicts(unittest.TestResult):
    verdict = None

    def startTest(self, test):
        super().startTest(test)
        self.verdict = "ok"

    def stopTest(self, test):
        super().stopTest(test)
        print(self.verdict, test.id(), flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.verdict = "skipped"

    def addError(self, test, error):
        super().addError(test, error)
        self.tell(test, error)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.tell(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self.tell(test, error)

    def tell(self, test, error):
        self.verdict = "failed"
        print(f"--- {test.id()}\n{self._exc_info_to_string(error, test)}", file=sys.stderr)
        if not isinstance(test, unittest.TestCase):
            print("failed", test.id(), flush=True)  # a whole class or module, which has no end of its own


def main(folder, *names):
    os.chdir(folder)
    sys.path.insert(0, os.getcwd())
    loader = unittest.TestLoader()
    suite = loader.loadTestsFromNames(names) if names else loader.discover("tests", top_level_dir=".")
    suite.run(Verdicts())


main(*sys.argv[1:])
