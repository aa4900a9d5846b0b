"""LMDB and LevelDB of Datum: reading by position (`backends` opens either), writing LMDBs, and the records themselves
(`datum`). What is damaged is an error with a place."""
