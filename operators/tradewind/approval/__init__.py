"""What a person is asked before a release: the dossier, and the hashes that their word is bound to."""
