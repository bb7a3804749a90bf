import argparse, sys, tempfile, time, signal
from pathlib import Path
from scripts.campaign import kills
from scripts.campaign.programs import Place
t=time.time()
place=Place(Path(tempfile.mkdtemp(prefix="campaign-")),seed=1)
print(place.folder)
for row in [kills.killed(place,6), kills.stopped(place,signal.SIGTERM,3), kills.stopped_early(place,signal.SIGINT,3)]:
    print(row.cells(), time.time()-t, flush=True)
