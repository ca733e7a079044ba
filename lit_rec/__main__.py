"""``python -m lit_rec VERB``."""

from lit_rec.cli.commands import main

if __name__ == "__main__":
    main()
