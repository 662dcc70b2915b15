"""Runs a driver's own suite, which must use unittest, and says of each test how it went.

    unittest_verdicts.py FOLDER PART/PARTS
    unittest_verdicts.py FOLDER TEST...

FOLDER holds the package `tests`, of which every PARTS-th test is run, or these. Where the database is stands in the
environment (PGHOST and so on). Prints one line for each test, `ok NAME`, `skipped NAME` or `failed NAME`, and at last
`end`; why it failed goes to stderr.
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


def each(suite):
    """The tests of suites within suites, in their order."""
    for test in suite:
        yield from each(test) if isinstance(test, unittest.TestSuite) else [test]


def main(folder, *names):
    os.chdir(folder)
    sys.path.insert(0, os.getcwd())
    loader = unittest.TestLoader()
    if "/" in names[0]:
        part, parts = map(int, names[0].split("/"))
        suite = unittest.TestSuite(list(each(loader.discover("tests", top_level_dir=".")))[part::parts])
    else:
        suite = loader.loadTestsFromNames(names)
    suite.run(Verdicts())
    print("end", flush=True)


main(*sys.argv[1:])
