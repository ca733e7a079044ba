"""``python -m lit_rec COMMAND``."""

from lit_rec.cli.main import main

if __name__ == "__main__":
    main()
