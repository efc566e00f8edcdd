package main

func coreTables() (string, error) { return "", nil }
