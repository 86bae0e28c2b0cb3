<?php
// The few lines a PHP suite needs: named checks, a summary, an exit code.

$checks = 0;
$failures = [];

function check(string $what, $expected, $got): void
{
    global $checks, $failures;
    $checks++;
    if ($expected !== $got) {
        $failures[] = "$what: expected " . var_export($expected, true) . ', got ' . var_export($got, true);
    }
}

function verdict(): void
{
    global $checks, $failures;
    foreach ($failures as $failure) {
        echo "FAILED $failure\n";
    }
    echo count($failures) . " of $checks checks failed\n";
    exit($failures ? 1 : 0);
}
