package teach

import "math"

// A slope of calibration stays positive, so that the posteriors have the order of the scores
// even where these tell nothing, and finite.
const leastSlope, mostSlope = 1e-3, 1e4

// temperature returns β for which soft-max(β·s) suits the scores s (rows × k) of pictures of
// the given classes best, which the SVMs have not seen: it minimises their cross-entropy, which
// is convex in β. The targets are not 1 but, as Platt's (1999), smoothed by the rule of
// succession: of n pictures (n+1)/(n+2), with the rest shared by the other classes. So no
// number of right answers makes the model certain.
func temperature(scores []float32, classes []int) float64 {
	n := len(classes)
	k := len(scores) / n
	right := float64(n+1) / float64(n+2)
	other := (1 - right) / float64(k-1)
	p := make([]float64, k)
	slope := func(beta float64) float64 { // of the cross-entropy
		sum := 0.0
		for i, c := range classes {
			s := scores[i*k : (i+1)*k]
			most, total := math.Inf(-1), 0.0
			for _, v := range s {
				most = math.Max(most, beta*float64(v))
			}
			for j, v := range s {
				p[j] = math.Exp(beta*float64(v) - most)
				total += p[j]
			}
			for j, v := range s {
				target := other
				if j == c {
					target = right
				}
				sum += (p[j]/total - target) * float64(v)
			}
		}
		return sum
	}
	low, high := math.Log(leastSlope), math.Log(mostSlope)
	for range 60 {
		if middle := (low + high) / 2; slope(math.Exp(middle)) < 0 {
			low = middle
		} else {
			high = middle
		}
	}
	return math.Exp((low + high) / 2)
}

// sigmoid returns a and b for which 1/(1+exp(−a·s−b)) suits the scores s of pictures that show
// a label or not: Platt's method with his targets, by Newton's method as Lin, Lin and Weng
// (2007) have it. a is at least leastSlope.
func sigmoid(scores []float32, shown []bool) (a, b float64) {
	var count [2]float64
	for _, is := range shown {
		if is {
			count[1]++
		} else {
			count[0]++
		}
	}
	high, low := (count[1]+1)/(count[1]+2), 1/(count[0]+2)
	target := func(i int) float64 {
		if shown[i] {
			return high
		}
		return low
	}
	loss := func(a, b float64) float64 {
		sum := 0.0
		for i, s := range scores {
			z := a*float64(s) + b
			sum += math.Max(z, 0) - target(i)*z + math.Log1p(math.Exp(-math.Abs(z)))
		}
		return sum
	}
	b = math.Log((count[1] + 1) / (count[0] + 1))
	now := loss(a, b)
	for range 100 {
		haa, hbb, hab, ga, gb := 1e-12, 1e-12, 0.0, 0.0, 0.0
		for i, s32 := range scores {
			s := float64(s32)
			p := 1 / (1 + math.Exp(-a*s-b))
			w := p * (1 - p)
			haa, hbb, hab = haa+s*s*w, hbb+w, hab+s*w
			ga, gb = ga+s*(p-target(i)), gb+p-target(i)
		}
		if math.Abs(ga) < 1e-9 && math.Abs(gb) < 1e-9 {
			break
		}
		det := haa*hbb - hab*hab
		da, db := -(hbb*ga-hab*gb)/det, -(haa*gb-hab*ga)/det
		step, better := 1.0, false
		for ; step > 1e-10 && !better; step /= 2 {
			if next := loss(a+step*da, b+step*db); next < now+1e-4*step*(ga*da+gb*db) {
				a, b, now, better = a+step*da, b+step*db, next, true
			}
		}
		if !better {
			break
		}
	}
	if a < leastSlope { // the scores tell nothing, or the contrary
		return leastSlope, b
	}
	return math.Min(a, mostSlope), b
}
